"""steadygan: GAN training with consistency regularisation."""

__version__ = "0.1.0"
