"""Images: from a folder, an archive or a data set's name to batches on a device."""

from steadygan.data.containers import is_name
from steadygan.data.content import fingerprint, split
from steadygan.data.decoding import UnreadableImage
from steadygan.data.describe import describe
from steadygan.data.digits import digits, stacked_digits
from steadygan.data.loader import Batch, ImageSet, Loader, load_images, to_float, to_uint8
from steadygan.data.pack import pack
from steadygan.data.pairs import PairLoader, PairSet
from steadygan.data.source import Source, open_source

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
    "is_name",
    "load_images",
    "open_source",
    "pack",
    "split",
    "stacked_digits",
    "to_float",
    "to_uint8",
]
