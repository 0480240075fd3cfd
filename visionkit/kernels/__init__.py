"""Numba and LLVM IR: arrays in, arrays out. The only floor that imports numba."""
