"""A snapshot of a predictor, to go back to: updating it and restoring it cost no more than what has changed since."""

from ..predictor import StreamPredictor


class Snapshot:
    """A predictor as it was when this was made, or when `update` was last called.

    The predictor may learn, be forked and so on meanwhile. Make one snapshot of a predictor at a time.

    >>> from streamlstm import Config
    >>> predictor = StreamPredictor(config=Config(hidden=16, layers=1, memory=False))
    >>> snapshot, before = Snapshot(predictor), predictor.predict()
    >>> bits = predictor.observe_many(b"never mind")
    >>> snapshot.restore()
    >>> bool((predictor.predict() == before).all())
    True
    """

    def __init__(self, predictor: StreamPredictor) -> None:
        self._predictor, self._copy = predictor, predictor.fork()
        predictor.track_changes()

    def update(self) -> None:
        """Take a new snapshot of the predictor as it is now, in the place of the old one."""
        self._copy.copy_from(self._predictor)

    def restore(self) -> None:
        """Take the predictor back to what it was."""
        self._predictor.copy_from(self._copy)
