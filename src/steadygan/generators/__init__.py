"""Generators from checkpoints, and their images."""
