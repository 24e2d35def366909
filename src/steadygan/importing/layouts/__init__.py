"""Layouts of other programs' weights: one module per family, each with functions from values to `Imported`."""
