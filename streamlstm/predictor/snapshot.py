"""Cheap snapshot and rollback of a predictor."""

from . import StreamPredictor


class Snapshot:
    """The state of a predictor when the snapshot was made or last updated.

    Updating and restoring take time in proportion to what has changed since, not to the size of the memory: the memory
    logs what it changes. In between the predictor may do anything: learn, fork, reset, be frozen. A predictor with a
    memory has one valid snapshot at a time, the newest; the methods of an older one raise ValueError.

    >>> from streamlstm import Config, StreamPredictor
    >>> predictor = StreamPredictor(config=Config(hidden=16, layers=1))
    >>> snapshot, before = Snapshot(predictor), predictor.predict()
    >>> bits = predictor.observe_many(b"never mind")
    >>> snapshot.restore()
    >>> bool((predictor.predict() == before).all())
    True
    """

    def __init__(self, predictor: StreamPredictor) -> None:
        self._predictor, self._log = predictor, predictor.log_changes()
        self._captured = {self._log.epoch: predictor.capture(self._log)}

    @property
    def epoch(self) -> int:
        """A number that each `update` increments; an interrupted `update` did or did not happen, and this tells."""
        return self._log.epoch

    def update(self) -> None:
        """Replace the snapshot by one of the predictor as it is now.

        An interrupt leaves the old snapshot or the new one: the log's epoch decides which of the two is valid.
        """
        epoch = self._log.epoch + 1
        self._captured[epoch] = self._predictor.capture(self._log)
        self._log.start(epoch)
        self._captured = {epoch: self._captured[epoch]}

    def restore(self) -> None:
        """Return the predictor to the state of the snapshot. An interrupt leaves it as it was, or restored."""
        self._predictor.restore(self._captured[self._log.epoch], self._log)
