"""StreamPredictor: a stream, its weights, and its way to and from a checkpoint."""

from ..modelfile import PRETRAINED as PRETRAINED
from ..modelfile import Learn as Learn
from .predictor import StreamPredictor as StreamPredictor
from .sources import KnownTokens as KnownTokens
from .sources import TokenSource as TokenSource
from .trace import Step as Step
from .trace import Trace as Trace
from .trace import TraceRecorder as TraceRecorder
