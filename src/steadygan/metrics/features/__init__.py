"""The networks through which scores see images, by name; any other is a subclass of `Extractor` in one's own module."""

from __future__ import annotations

from steadygan.metrics.features.extractor import Extractor, Features
from steadygan.metrics.features.registry import EXTRACTORS, available, extractor_type, get_extractor

__all__ = ["EXTRACTORS", "Extractor", "Features", "available", "extractor_type", "get_extractor"]
