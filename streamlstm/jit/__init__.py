"""Machine code: how kernels are compiled, kept, shipped and called. It knows no mathematics."""
