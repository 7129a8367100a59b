"""Lossless compression: archives and messages, their coder, and the identity of a model."""
