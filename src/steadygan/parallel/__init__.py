"""Distributed training: several processes for one run."""
