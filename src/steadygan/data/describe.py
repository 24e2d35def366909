"""What `steadygan data info` tells."""

from __future__ import annotations

import math
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

from steadygan.data.containers import Container, open_container
from steadygan.data.decoding import UnreadableImage, eight_bit, open_image, reason
from steadygan.data.digits import EMBEDDED
from steadygan.data.listing import Listing, list_images
from steadygan.data.source import THREADS, open_source, probe_channels


class _Look(NamedTuple):
    mode: str
    size: tuple[int, int]


def describe(path: str, *, threads: int = THREADS) -> dict[str, Any]:
    """Everything `steadygan data info PATH` prints, after decoding every image; JSON-ready.

    Keys: path, layout, count (images, the unreadable included), ignored (other files), labelled, classes
    {name: count}, width_height {smallest, largest, most_common} as (width, height), pixel_modes {Pillow
    mode: count}, channels (as training would choose them), unreadable {name: reason}.
    """
    looked: list[_Look | UnreadableImage]
    if path in EMBEDDED:
        source = open_source(path, size=8)
        channels = source.channels
        listing = Listing("embedded", ("",) * len(source), 0, source.labels, source.class_names)
        looked = [_Look("L" if channels == 1 else "RGB", (8, 8))] * len(source)
    else:
        files = open_container(path)
        listing = list_images(files, path)
        channels = probe_channels(files, listing.names)
        with ThreadPoolExecutor(threads) as pool:
            looked = list(pool.map(partial(_look, files), listing.names))

    seen = [entry for entry in looked if isinstance(entry, _Look)]
    sizes = Counter(entry.size for entry in seen)
    extent = (min(sizes, key=math.prod), max(sizes, key=math.prod), sizes.most_common(1)[0][0]) if seen else ()
    counts = Counter([] if listing.labels is None else listing.labels.tolist())
    return {
        "path": path,
        "layout": listing.layout,
        "count": len(listing.names),
        "ignored": listing.ignored,
        "labelled": listing.labels is not None,
        "classes": {name: counts[label] for label, name in enumerate(listing.class_names)},
        "width_height": dict(zip(("smallest", "largest", "most_common"), extent, strict=False)),
        "pixel_modes": dict(Counter(entry.mode for entry in seen).most_common()),
        "channels": channels,
        "unreadable": {entry.name: entry.reason for entry in looked if isinstance(entry, UnreadableImage)},
    }


def _look(files: Container, name: str) -> _Look | UnreadableImage:
    try:
        image = open_image(files.read(name))
        eight_bit(image, "RGB")
    except Exception as error:
        return UnreadableImage(name, reason(error))
    return _Look(image.mode, image.size)
