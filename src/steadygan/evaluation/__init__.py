"""Scores of runs, checkpoints and folders of images."""
