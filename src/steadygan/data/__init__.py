"""Images: from a folder, a zip or the embedded digits to batches on a device."""

from steadygan.data.digits import digits, stacked_digits
from steadygan.data.loader import Batch, ImageSet, Loader, load_images, to_float, to_uint8
from steadygan.data.pairs import PairLoader, PairSet
from steadygan.data.sources import Source, UnreadableImage, describe, fingerprint, open_source, split

__all__ = [
    "Batch",
    "ImageSet",
    "Loader",
    "PairLoader",
    "PairSet",
    "Source",
    "UnreadableImage",
    "describe",
    "digits",
    "fingerprint",
    "load_images",
    "open_source",
    "split",
    "stacked_digits",
    "to_float",
    "to_uint8",
]
