"""The targets by name."""

from arguments import ARGUMENTS
from containers import CONTAINER, MESSAGE
from engine import Target
from lines import LOG_LINES
from saved import MODEL, SNAPSHOT, WATCHER
from stores import STORE
from text import VOCABULARY

TARGETS: dict[str, Target] = {
    "vocabulary": VOCABULARY,
    "lines": LOG_LINES,
    "container": CONTAINER,
    "message": MESSAGE,
    "model": MODEL,
    "snapshot": SNAPSHOT,
    "watcher": WATCHER,
    "store": STORE,
    "arguments": ARGUMENTS,
}
