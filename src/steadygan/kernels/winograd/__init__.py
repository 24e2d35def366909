"""Winograd convolution: 3×3 convolutions with fewer multiplications (Lavin and Gray, CVPR 2016)."""
