"""The targets by name."""

from arguments import ARGUMENTS
from containers import CONTAINER, MESSAGE
from engine import Target
from lines import LOG_LINES, WATCH
from saved import KEYED, MODEL, RESUME, SESSIONS, SNAPSHOT, STORES, WATCHER
from text import VOCABULARY

TARGETS: dict[str, Target] = {
    "vocabulary": VOCABULARY,
    "lines": LOG_LINES,
    "watch": WATCH,
    "container": CONTAINER,
    "message": MESSAGE,
    "model": MODEL,
    "resume": RESUME,
    "snapshot": SNAPSHOT,
    "watcher": WATCHER,
    "sessions": SESSIONS,
    "keyed": KEYED,
    "store": STORES,
    "arguments": ARGUMENTS,
}
