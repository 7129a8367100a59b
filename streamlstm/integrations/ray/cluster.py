"""A connection to a Ray cluster: that of RAY_ADDRESS, or one on this machine that ends with the connection."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from ...system.process import Interruptible
from .storage import require_utf8

ATTEMPTS = 3
"""How often Ray is started: on a busy machine it can take more than the 30 seconds that Ray allows."""


@contextmanager
def connected(workers: int = 0) -> Iterator[int]:
    """Connect to a cluster for as long as the context lasts, unless the program is connected already.

    workers  how many workers are wanted, one CPU each; 0: as many as the cluster has CPUs

    Yields the number of workers. Raises ValueError if there is no cluster, or one with fewer CPUs, since the work would
    wait for ever. Signals raise `Interrupted`; Ray would end the process in its own way.
    """
    check_command_line()
    if workers < 0:
        raise ValueError(f"workers must be at least 1, not {workers}")
    if ray.is_initialized():
        yield _checked(workers)
        return
    _connect(workers)
    try:
        with Interruptible(raises=True):
            yield _checked(workers)
    finally:
        ray.shutdown()


def check_command_line() -> None:
    """Raise ValueError if an argument of this process is not in UTF-8: Ray sends them all to the cluster."""
    for argument in sys.orig_argv:
        require_utf8(argument)


def _connect(workers: int) -> None:
    address = os.environ.get("RAY_ADDRESS", "local")
    local = {"num_cpus": workers or os.cpu_count(), "include_dashboard": False} if address == "local" else {}
    for attempt in range(ATTEMPTS):
        try:
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **local)
            return
        except Exception as error:  # Ray raises many kinds, also plain Exception
            ray.shutdown()
            if not local:
                raise ValueError(f"there is no Ray cluster at RAY_ADDRESS={address}: {_line(error)}") from error
            if attempt + 1 == ATTEMPTS:
                raise ValueError(f"Ray could not be started: {_line(error)}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _checked(workers: int) -> int:
    n_cpus = int(ray.cluster_resources().get("CPU", 0))
    if not n_cpus >= max(workers, 1):
        raise ValueError(f"the Ray cluster has {n_cpus} CPUs, too few for {max(workers, 1)} workers of one CPU each")
    return workers or n_cpus
