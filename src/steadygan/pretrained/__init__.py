"""Pretrained networks, used as feature extractors of scores and as feature inputs of D."""

from __future__ import annotations

from steadygan.pretrained.extractor import Extractor, Features
from steadygan.pretrained.registry import EXTRACTORS, available, extractor_type, get_extractor

__all__ = ["EXTRACTORS", "Extractor", "Features", "available", "extractor_type", "get_extractor"]
