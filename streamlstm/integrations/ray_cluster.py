"""A connection to a Ray cluster: that of RAY_ADDRESS, or one on this machine that ends with the connection."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from ..tasks.signals import Interruptible
from .extras import missing_extra

try:
    import ray
except ModuleNotFoundError as error:
    raise missing_extra(error, "ray") from None


@contextmanager
def connected(workers: int = 0) -> Iterator[int]:
    """Connect to a cluster for as long as the context lasts, unless the program is connected already.

    workers  how many workers are wanted, one CPU each; 0: as many as the cluster has CPUs

    Yields the number of workers. Raises ValueError if there is no cluster, or one with fewer CPUs, since the work would
    wait for ever.
    Signals raise `Interrupted`; Ray would end the process in its own way.
    """
    if workers < 0:
        raise ValueError(f"workers must be at least 1, not {workers}")
    if ray.is_initialized():
        yield _checked(workers)
        return
    address = os.environ.get("RAY_ADDRESS", "local")
    local = {"num_cpus": workers or os.cpu_count(), "include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **local)
    except Exception as error:  # Ray raises many kinds, also plain Exception
        what = "Ray could not be started" if local else f"there is no Ray cluster at RAY_ADDRESS={address}"
        raise ValueError(f"{what}: {' '.join(str(error).split())}") from error
    try:
        with Interruptible(raises=True):
            yield _checked(workers)
    finally:
        ray.shutdown()


def _checked(workers: int) -> int:
    n_cpus = int(ray.cluster_resources().get("CPU", 0))
    if not n_cpus >= max(workers, 1):
        raise ValueError(f"the Ray cluster has {n_cpus} CPUs, too few for {max(workers, 1)} workers of one CPU each")
    return workers or n_cpus
