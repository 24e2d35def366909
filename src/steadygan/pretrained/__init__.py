"""Pretrained networks: weight files by name and SHA-256, and the features that scores read from them."""

from __future__ import annotations

from steadygan.pretrained.extractor import Extractor, Features
from steadygan.pretrained.registry import EXTRACTORS, available, extractor_type, get_extractor

__all__ = ["EXTRACTORS", "Extractor", "Features", "available", "extractor_type", "get_extractor"]
