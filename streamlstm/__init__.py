"""streamlstm: a character-level LSTM that lives in a stream."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "predictor": ("StreamPredictor", "Trace"),
    "vocabulary": ("Vocabulary",),
    "model": ("Config",),
    "optim": ("SGD", "Adam", "RMSprop"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

if TYPE_CHECKING:
    from .model import Config as Config
    from .optim import SGD as SGD
    from .optim import Adam as Adam
    from .optim import RMSprop as RMSprop
    from .predictor import StreamPredictor as StreamPredictor
    from .predictor import Trace as Trace
    from .vocabulary import Vocabulary as Vocabulary

__all__ = ["SGD", "Adam", "Config", "RMSprop", "StreamPredictor", "Trace", "Vocabulary", "__version__"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `streamlstm --help` does not wait for numba."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'streamlstm' has no attribute {name!r}")
    return getattr(import_module(f".{_HOME_OF[name]}", __name__), name)
