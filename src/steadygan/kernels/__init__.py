"""Arithmetic: reduced precision, and Winograd convolution on a CPU."""
