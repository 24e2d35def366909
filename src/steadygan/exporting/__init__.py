"""Exports generators: safetensors with a model card, ONNX, torch programs, files of other repositories."""

from steadygan.exporting.targets import TARGETS, export

__all__ = ["TARGETS", "export"]
