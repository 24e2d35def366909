"""Parquet files as on the Hugging Face Hub: a column of {bytes, path} structs and a column of labels."""

from __future__ import annotations

import json
import re
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from steadygan.data.classes import number_classes
from steadygan.data.containers.base import Container, Listing, check_size, digest_of_files
from steadygan.data.containers.pages import Footer
from steadygan.errors import UserError

MAX_GROUP_BYTES = 4 << 30
CACHED_GROUPS = 2
LABEL_COLUMNS = ("label", "labels", "class", "cls", "fine_label")


class Parquet(Container):
    """Rows of one or several files, in order; an image's name is FILE/ROW.

    The image column is the first struct with a field `bytes`, or a bytes column called `image` or `img`. Labels are the
    column that the schema's Hugging Face metadata declares as ClassLabel, with its names, or else a column called
    `label`, `labels`, `class`, `cls` or `fine_label`. Images given only by `path` count as unreadable: paths inside a
    data set are never followed. Raises UserError without pyarrow, and for damaged files and files without images.
    """

    def __init__(self, shards: Sequence[Path]) -> None:
        self._parquet = _pyarrow()
        self.shards = tuple(shards)
        self._number = {shard.name: number for number, shard in enumerate(self.shards)}
        if len(self._number) < len(self.shards):
            raise UserError(f"several of these files are called {self.shards[0].name}: give those of one folder")
        self._starts: list[list[int]] = []
        self._footers: list[Footer] = []
        for shard in self.shards:
            try:
                self._footers.append(Footer(shard))
                metadata = self._parquet.read_metadata(shard)
                groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
                sizes = [(group.num_rows, group.total_byte_size) for group in groups]
            except Exception as error:  # pyarrow can raise any exception on damaged files.
                raise UserError(f"{shard} is not a valid parquet file ({error})") from None
            if any(rows < 0 or not 0 <= size <= MAX_GROUP_BYTES for rows, size in sizes):
                raise UserError(f"{shard} has row groups over {MAX_GROUP_BYTES >> 30} GiB: write it with smaller ones")
            # An image takes at least a byte: a false row count must not fill memory.
            if sum(rows for rows, _ in sizes) > shard.stat().st_size:
                raise UserError(f"{shard} declares {sum(rows for rows, _ in sizes):,} rows, more than it has bytes")
            self._starts.append([0, *accumulate(rows for rows, _ in sizes)])
        self._lock, self._groups = threading.Lock(), OrderedDict[tuple[int, int], Any]()
        self._schema = self._parquet.read_schema(self.shards[0])
        self._column, self._field = self._image_column()

    def _image_column(self) -> tuple[str, str | None]:
        import pyarrow

        for field in self._schema:
            if pyarrow.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0:
                return field.name, "bytes"
        for field in self._schema:
            if field.name in ("image", "img", "jpg", "png") and (
                pyarrow.types.is_binary(field.type) or pyarrow.types.is_large_binary(field.type)
            ):
                return field.name, None
        raise UserError(
            f"{self.shards[0]} has no column of images (its columns: {', '.join(self._schema.names)}): expected a "
            "struct with `bytes`, as the Hugging Face Hub writes, or bytes called `image`"
        )

    def names(self) -> Iterator[str]:
        return (
            f"{shard.name}/{row:08}"
            for shard, starts in zip(self.shards, self._starts, strict=True)
            for row in range(starts[-1])
        )

    def listing(self) -> Listing:
        import pyarrow

        names = tuple(self.names())
        features = _features(self._schema.metadata)
        class_labels = {name: f.get("names") for name, f in features.items() if f.get("_type") == "ClassLabel"}
        known = [*(name for name in LABEL_COLUMNS if name in class_labels), *class_labels]
        column = next((name for name in [*known, *LABEL_COLUMNS] if name in self._schema.names), None)
        if column is None:
            return Listing("parquet", names)
        kind = self._schema.field(column).type
        if pyarrow.types.is_nested(kind):
            lists = "lists" if pyarrow.types.is_list(kind) else str(kind)
            raise UserError(
                f"{self.shards[0]}: the column {column} holds {lists}, expected one class number or name in each row"
            )
        where = f"the column {column} of {self.shards[0].name}"
        values: list[Any] = []
        for number, shard in enumerate(self.shards):
            try:
                values += self._read_labels(number, column)
            except Exception as error:
                raise UserError(f"{shard}: the column {column} cannot be read ({error})") from None
        if all(value is None or value == -1 for value in values):  # the Hub's value for splits without labels
            return Listing("parquet", names)
        labels, class_names = number_classes(values, where, class_labels.get(column))
        return Listing("parquet", names, labels=labels, class_names=class_names)

    def _read_labels(self, number: int, column: str) -> list[Any]:
        """All rows of a column; equal strings share one object."""
        values: list[Any] = []
        with self._parquet.ParquetFile(self.shards[number], read_dictionary=[column]) as file:
            for group in range(file.num_row_groups):
                self._footers[number].check(group, column)
                for chunk in file.read_row_group(group, columns=[column], use_threads=False).column(0).chunks:
                    if hasattr(chunk, "dictionary"):
                        words = chunk.dictionary.to_pylist()
                        values += [None if index is None else words[index] for index in chunk.indices.to_pylist()]
                    else:
                        values += chunk.to_pylist()
        return values

    def read(self, name: str) -> bytes:
        shard, _, row = name.rpartition("/")
        number, index = self._number[shard], int(row)
        group = bisect_right(self._starts[number], index) - 1
        entry = self._group(number, group)[index - self._starts[number][group]].as_py()
        data = entry if self._field is None or entry is None else entry[self._field]
        if not isinstance(data, bytes):
            raise ValueError("the row holds no bytes")
        check_size(len(data))
        return data

    def _group(self, number: int, group: int) -> Any:
        """The image column of one row group, cached for the next images read."""
        key = number, group
        with self._lock:
            if key not in self._groups:
                column = self._column if self._field is None else f"{self._column}.{self._field}"
                self._footers[number].check(group, self._column)
                # Dictionary encoding keeps an image that many rows repeat in memory once.
                with self._parquet.ParquetFile(self.shards[number], read_dictionary=[column]) as file:
                    self._groups[key] = file.read_row_group(group, columns=[column], use_threads=False).column(0)
                while len(self._groups) > CACHED_GROUPS:
                    self._groups.popitem(last=False)
            self._groups.move_to_end(key)
            return self._groups[key]

    def digest(self, names: Sequence[str]) -> str:
        return digest_of_files(self.shards)


def check_one_split(shards: Sequence[Path]) -> None:
    """Raises UserError if a folder's files belong to several splits, such as train and test."""
    splits = sorted({str(shard.parent / re.sub(r"[-_.]?\d*(-of-\d+)?$", "", shard.stem)) for shard in shards})
    if len(splits) > 1:
        raise UserError(
            f"these parquet files are of several splits, {' and '.join(splits[:2])}: give those of one, such as "
            f"'{splits[0]}*.parquet'"
        )


def _features(metadata: dict[bytes, bytes] | None) -> dict[str, dict[str, Any]]:
    """The `features` that the `datasets` library writes into a schema; empty when there are none."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        return {str(name): feature for name, feature in features.items() if isinstance(feature, dict)}
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _pyarrow() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise UserError(
            "reading parquet files needs pyarrow: `pip install pyarrow` (steadygan's extra 'parquet')"
        ) from None
    return pyarrow.parquet
