"""Trained generators in forms that others read: safetensors with a card, ONNX, torch programs, peers' files."""

from steadygan.exporting.targets import TARGETS, export

__all__ = ["TARGETS", "export"]
