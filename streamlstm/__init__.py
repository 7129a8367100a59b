"""streamlstm: a character-level LSTM for streams, which predicts each symbol and learns from it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "1.0.0"

_MODULES = {
    "Adam": "optim",
    "Candidate": "search.beam",
    "Config": "model",
    "InitConfig": "model",
    "MessageCoder": "codec.message",
    "RMSprop": "optim",
    "SGD": "optim",
    "Score": "text.score",
    "Scores": "text.units",
    "SessionWatcher": "watch.sessions",
    "Snapshot": "predictor.snapshot",
    "StreamPredictor": "predictor",
    "TextEntry": "streams.entry",
    "Trace": "predictor",
    "Trainer": "training.trainer",
    "TrainingPlan": "training.trainer",
    "Vocabulary": "vocabulary",
    "WatchedLine": "watch.watcher",
    "StreamPool": "streams.pool",
    "Watcher": "watch.watcher",
    "compare": "text.score",
    "complete": "search.beam",
    "compress": "codec.archive",
    "compress_file": "codec.archive",
    "compress_message": "codec.message",
    "decompress": "codec.archive",
    "decompress_file": "codec.archive",
    "decompress_message": "codec.message",
    "expert_report": "text.score",
    "fill": "search.beam",
    "format_scores": "render.records",
    "generate": "search.generate",
    "picture": "render.picture",
    "score": "text.score",
    "score_by": "text.score",
    "score_many": "text.score",
    "surprising": "watch.surprising",
    "top_characters": "text.characters",
    "trace_characters": "text.characters",
    "verify": "selftest",
    "warmup": "jit.warmup",
}
"""The modules of the public names."""

if TYPE_CHECKING:
    from .codec.archive import compress as compress
    from .codec.archive import compress_file as compress_file
    from .codec.archive import decompress as decompress
    from .codec.archive import decompress_file as decompress_file
    from .codec.message import MessageCoder as MessageCoder
    from .codec.message import compress_message as compress_message
    from .codec.message import decompress_message as decompress_message
    from .jit.warmup import warmup as warmup
    from .model import Config as Config
    from .model import InitConfig as InitConfig
    from .optim import SGD as SGD
    from .optim import Adam as Adam
    from .optim import RMSprop as RMSprop
    from .predictor import StreamPredictor as StreamPredictor
    from .predictor import Trace as Trace
    from .predictor.snapshot import Snapshot as Snapshot
    from .render.picture import picture as picture
    from .render.records import format_scores as format_scores
    from .search.beam import Candidate as Candidate
    from .search.beam import complete as complete
    from .search.beam import fill as fill
    from .search.generate import generate as generate
    from .selftest import verify as verify
    from .streams.entry import TextEntry as TextEntry
    from .streams.pool import StreamPool as StreamPool
    from .text.characters import top_characters as top_characters
    from .text.characters import trace_characters as trace_characters
    from .text.score import Score as Score
    from .text.score import compare as compare
    from .text.score import expert_report as expert_report
    from .text.score import score as score
    from .text.score import score_by as score_by
    from .text.score import score_many as score_many
    from .text.units import Scores as Scores
    from .training.trainer import Trainer as Trainer
    from .training.trainer import TrainingPlan as TrainingPlan
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
    "TextEntry",
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
