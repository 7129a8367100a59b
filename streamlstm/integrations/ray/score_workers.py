"""A job of scores on a Ray cluster: Ray Data gives its pieces to a pool of actors, and replaces actors that die.

Ray Data's own checkpoints are not used: they filter rows by their ids, and a row here can give many; and loading them
can hang on a cluster with few CPUs (seen in Ray 2.60 with three). A piece is done when its file is there.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from ..extras import missing_extra
from .score_job import ScoreJob

try:
    import ray.data
except ModuleNotFoundError as error:
    raise missing_extra(error, "ray") from None

MAX_BLOCKS = 1000
"""Ray Data gives the pieces to the actors in at most this many blocks."""


def run_on_ray(job: ScoreJob, workers: int) -> Iterator[int]:
    """Score the unfinished pieces of a job with actors of one CPU each, and yield the index of each piece when it is
    done. The program is connected to a cluster (`connected`).

    Raises ValueError for a record or file that cannot be scored.
    """
    indices = job.unfinished()
    if not indices:
        return
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars, context.print_on_execution_start = False, False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    data = ray.data.from_items(
        [{"index": index} for index in indices], override_num_blocks=min(len(indices), MAX_BLOCKS)
    )
    pool = ray.data.ActorPoolStrategy(size=min(workers, len(indices)))
    done = data.map_batches(
        PieceScorer, batch_size=1, compute=pool, num_cpus=1, fn_constructor_args=[job.storage.location]
    )
    for row in done.iter_rows():
        if row["error"]:
            raise ValueError(row["error"])
        yield int(row["index"])


class PieceScorer:
    """Scores pieces of the job in a folder; in an actor."""

    def __init__(self, location: str) -> None:
        self._job = ScoreJob.load(location)
        self._predictor = self._job.predictor()

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Score the pieces with these indices; returns the indices, and an error or "" for each."""
        indices = [int(index) for index in batch["index"]]
        return {"index": indices, "error": [self._error_of(index) for index in indices]}

    def _error_of(self, index: int) -> str:
        if self._job.is_done(index):  # by an actor that died before it could say so
            return ""
        try:
            self._job.score(index, self._predictor)
        except (ValueError, OSError) as error:
            return str(error)
        return ""
