"""The network and the memory in plain NumPy: short, slow and exact. Read these first; only the tests import them."""
