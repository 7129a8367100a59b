"""Libraries of the optional extras. In CI all are there: the variable INTEGRATIONS forbids to skip their tests."""

import os
from importlib import import_module

import pytest

INSTALLED = bool(os.environ.get("INTEGRATIONS"))


def library(name):
    """The module, or the test module is skipped; with INTEGRATIONS set a missing one is an error."""
    return import_module(name) if INSTALLED else pytest.importorskip(name)
