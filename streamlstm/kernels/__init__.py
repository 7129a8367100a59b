"""Compiled by numba: the network, forward and back through time, and its optimizers. Knows no files and no users."""
