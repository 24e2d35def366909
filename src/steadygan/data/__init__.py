"""Images: from a folder, a zip or the embedded digits to batches on a device."""

from steadygan.data.content import fingerprint, split
from steadygan.data.decoding import UnreadableImage
from steadygan.data.describe import describe
from steadygan.data.digits import digits, stacked_digits
from steadygan.data.loader import ImageSet, Loader, load_images, to_float, to_uint8
from steadygan.data.source import Source, open_source

__all__ = [
    "ImageSet",
    "Loader",
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
