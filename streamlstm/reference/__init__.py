"""The same mathematics in plain NumPy: the oracle of the tests, to be read first. Nothing in the package imports it."""
