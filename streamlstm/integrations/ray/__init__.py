"""streamlstm on Ray, for many cores or machines: scores of many files, and keyed streams; needs the extra `ray`."""

from ..batches import Compress as Compress
from ..batches import Score as Score
from ..extras import missing_extra

try:
    from .cluster import connected as connected
    from .keyed_streams import KeyedStreams as KeyedStreams
    from .keyed_streams import ShardStats as ShardStats
    from .readers import Alarm as Alarm
    from .readers import ScoreStreams as ScoreStreams
    from .readers import Surprisal as Surprisal
    from .readers import WatchStreams as WatchStreams
except ModuleNotFoundError as error:
    raise missing_extra(error, "ray") from None
