"""streamlstm: a character-level LSTM for streams, which predicts each symbol and learns from it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "1.0.0"

_MODULES = {
    "Adam": "optim",
    "Candidate": "tasks.beam",
    "Config": "model",
    "InitConfig": "model",
    "MessageCoder": "tasks.message",
    "RMSprop": "optim",
    "SGD": "optim",
    "Score": "tasks.score",
    "Scores": "tasks.units",
    "SessionWatcher": "watch.sessions",
    "Snapshot": "tasks.snapshot",
    "StreamPredictor": "predictor",
    "Trace": "predictor",
    "Trainer": "tasks.training",
    "TrainingPlan": "tasks.training",
    "Vocabulary": "vocabulary",
    "WatchedLine": "watch.watcher",
    "StreamPool": "streams.pool",
    "Watcher": "watch.watcher",
    "compare": "tasks.score",
    "complete": "tasks.complete",
    "compress": "tasks.compress",
    "compress_file": "tasks.compress",
    "compress_message": "tasks.message",
    "decompress": "tasks.compress",
    "decompress_file": "tasks.compress",
    "decompress_message": "tasks.message",
    "expert_report": "tasks.score",
    "fill": "tasks.fill",
    "format_scores": "render.records",
    "generate": "tasks.generate",
    "picture": "render.picture",
    "score": "tasks.score",
    "score_by": "tasks.score",
    "score_many": "tasks.score",
    "surprising": "watch.surprising",
    "top_characters": "tasks.characters",
    "trace_characters": "tasks.characters",
    "verify": "tasks.verify",
    "warmup": "jit.warmup",
}
"""The modules of the public names."""

if TYPE_CHECKING:
    from .jit.warmup import warmup as warmup
    from .model import Config as Config
    from .model import InitConfig as InitConfig
    from .optim import SGD as SGD
    from .optim import Adam as Adam
    from .optim import RMSprop as RMSprop
    from .predictor import StreamPredictor as StreamPredictor
    from .predictor import Trace as Trace
    from .render.picture import picture as picture
    from .render.records import format_scores as format_scores
    from .streams.pool import StreamPool as StreamPool
    from .tasks.beam import Candidate as Candidate
    from .tasks.characters import top_characters as top_characters
    from .tasks.characters import trace_characters as trace_characters
    from .tasks.complete import complete as complete
    from .tasks.compress import compress as compress
    from .tasks.compress import compress_file as compress_file
    from .tasks.compress import decompress as decompress
    from .tasks.compress import decompress_file as decompress_file
    from .tasks.fill import fill as fill
    from .tasks.generate import generate as generate
    from .tasks.message import MessageCoder as MessageCoder
    from .tasks.message import compress_message as compress_message
    from .tasks.message import decompress_message as decompress_message
    from .tasks.score import Score as Score
    from .tasks.score import compare as compare
    from .tasks.score import expert_report as expert_report
    from .tasks.score import score as score
    from .tasks.score import score_by as score_by
    from .tasks.score import score_many as score_many
    from .tasks.snapshot import Snapshot as Snapshot
    from .tasks.training import Trainer as Trainer
    from .tasks.training import TrainingPlan as TrainingPlan
    from .tasks.units import Scores as Scores
    from .tasks.verify import verify as verify
    from .vocabulary import Vocabulary as Vocabulary
    from .watch.sessions import SessionWatcher as SessionWatcher
    from .watch.surprising import surprising as surprising
    from .watch.watcher import WatchedLine as WatchedLine
    from .watch.watcher import Watcher as Watcher

__all__ = [
    "SGD",
    "Adam",
    "Candidate",
    "Config",
    "InitConfig",
    "MessageCoder",
    "RMSprop",
    "Score",
    "Scores",
    "SessionWatcher",
    "Snapshot",
    "StreamPool",
    "StreamPredictor",
    "Trace",
    "Trainer",
    "TrainingPlan",
    "Vocabulary",
    "WatchedLine",
    "Watcher",
    "__version__",
    "compare",
    "complete",
    "compress",
    "compress_file",
    "compress_message",
    "decompress",
    "decompress_file",
    "decompress_message",
    "expert_report",
    "fill",
    "format_scores",
    "generate",
    "picture",
    "score",
    "score_by",
    "score_many",
    "surprising",
    "top_characters",
    "trace_characters",
    "verify",
    "warmup",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `streamlstm --help` does not wait for numba."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
