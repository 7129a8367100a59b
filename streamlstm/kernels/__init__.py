"""The kernels that numba compiles: the network, its gradient and its optimizers. They know no files and no users."""
