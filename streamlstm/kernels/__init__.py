"""The mathematics of the network, in the order in which a symbol flows; numba compiles it, see `jit`."""
