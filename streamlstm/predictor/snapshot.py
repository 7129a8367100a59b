"""Cheap snapshot and rollback of a predictor."""

from . import StreamPredictor


class Snapshot:
    """The state of a predictor when the snapshot was made or last updated.

    Updating and restoring take time in proportion to what has changed since, not to the size of the memory: the
    snapshot is a fork. In between the predictor may do anything: learn, fork, reset, be frozen. Keep one snapshot of a
    predictor at a time: with each further one, or with forks, an update copies more.

    >>> from streamlstm import Config, StreamPredictor
    >>> predictor = StreamPredictor(config=Config(hidden=16, layers=1))
    >>> snapshot, before = Snapshot(predictor), predictor.predict()
    >>> bits = predictor.observe_many(b"never mind")
    >>> snapshot.restore()
    >>> bool((predictor.predict() == before).all())
    True
    """

    def __init__(self, predictor: StreamPredictor) -> None:
        self._predictor = predictor
        self._taken = 1, predictor.fork()

    @property
    def epoch(self) -> int:
        """A number that each `update` increments; an interrupted `update` did or did not happen, and this tells."""
        return self._taken[0]

    def update(self) -> None:
        """Replace the snapshot by one of the predictor as it is now. An interrupt leaves the old one or the new one."""
        self._taken = self.epoch + 1, self._predictor.fork()

    def restore(self) -> None:
        """Return the predictor to the state of the snapshot. An interrupt leaves it as it was, or restored."""
        self._predictor.restore(self._taken[1])
