"""streamlstm: a character-level LSTM that lives in a stream."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "tasks.characters": ("top_characters",),
    "predictor": ("StreamPredictor", "Trace"),
    "vocabulary": ("Vocabulary",),
    "model": ("Config",),
    "optim": ("SGD", "Adam", "RMSprop"),
    "tasks.score": ("score_by", "score_many"),
    "tasks.watch": ("Watcher",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

if TYPE_CHECKING:
    from .model import Config as Config
    from .optim import SGD as SGD
    from .optim import Adam as Adam
    from .optim import RMSprop as RMSprop
    from .predictor import StreamPredictor as StreamPredictor
    from .predictor import Trace as Trace
    from .tasks.characters import top_characters as top_characters
    from .tasks.score import score_by as score_by
    from .tasks.score import score_many as score_many
    from .tasks.watch import Watcher as Watcher
    from .vocabulary import Vocabulary as Vocabulary

__all__ = [
    "SGD",
    "Adam",
    "Config",
    "RMSprop",
    "StreamPredictor",
    "Trace",
    "Vocabulary",
    "Watcher",
    "__version__",
    "score_by",
    "score_many",
    "top_characters",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `streamlstm --help` does not wait for numba."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'streamlstm' has no attribute {name!r}")
    return getattr(import_module(f".{_HOME_OF[name]}", __name__), name)
