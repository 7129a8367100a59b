"""Going back: a predictor is kept as it was; to keep it and to go back cost no more than what changed in between."""

from ..predictor import StreamPredictor


class Backup:
    """A predictor as it was when this was made or when `keep` was last called.

    It takes as much memory as the predictor, which may learn, be forked and so on meanwhile; one predictor has at
    most one backup at a time.

    >>> from streamlstm import Config
    >>> predictor = StreamPredictor(config=Config(hidden=16, layers=1, memory=False))
    >>> backup, before = Backup(predictor), predictor.predict()
    >>> bits = predictor.observe_many(b"never mind")
    >>> backup.go_back()
    >>> bool((predictor.predict() == before).all())
    True
    """

    def __init__(self, predictor: StreamPredictor) -> None:
        self._predictor, self._kept = predictor, predictor.fork()
        predictor._note_changes()

    def keep(self) -> None:
        """From now on it is the predictor as it is now."""
        self._kept._become(self._predictor)

    def go_back(self) -> None:
        """The predictor becomes what it was."""
        self._predictor._become(self._kept)
