"""Libraries of the optional extras. In CI all are there: the variable INTEGRATIONS forbids to skip their tests."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

import pytest

INSTALLED = bool(os.environ.get("INTEGRATIONS"))


def library(name):
    """The module, or the test module is skipped; with INTEGRATIONS set a missing one is an error."""
    return import_module(name) if INSTALLED else pytest.importorskip(name)


@contextmanager
def ray_cluster() -> Iterator[None]:
    """A Ray cluster with two CPUs: what runs meanwhile uses it, and starts none of its own, which takes long."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    os.environ["RAY_ADDRESS"] = cluster.address
    try:
        yield
    finally:
        del os.environ["RAY_ADDRESS"]
        cluster.shutdown()
