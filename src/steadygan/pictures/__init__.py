"""Grids, animations and pixel formats."""
