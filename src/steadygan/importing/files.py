"""Reads weights in torch's zip format, torch's legacy format, or as a plain pickle."""

from __future__ import annotations

import mmap
import zipfile
import zlib
from pathlib import Path
from typing import Any

from steadygan.errors import UserError, command_line
from steadygan.files import zip_of_weights
from steadygan.importing.unpickle import Machine
from steadygan.importing.values import STORAGES, Budget, Global, Refused, Span, Storage

MOST_BYTES = 8 << 30
MOST_ENTRIES = 100_000
MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_VERSION = 1001
LOCAL_HEADER = 30
ZIP = b"PK\x03\x04"


def read_file(path: Path) -> Any:
    """Reads a file as inert values (see `values`). The file stays mapped as long as one of them points into it.

    Raises UserError if the file does not exist, and `Refused`, naming the file, if its content is not weights.
    """
    try:
        size = path.stat().st_size
        if not path.is_file() or size == 0:
            raise UserError(f"{path}: not a file of weights: it is {'empty' if path.is_file() else 'no file'}")
        if size > MOST_BYTES:
            raise UserError(f"{path}: {size:,} bytes; files of up to {MOST_BYTES:,} can be imported")
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}; check its path") from error
    try:
        return read(memoryview(mapped), path)
    except Refused as error:
        known = command_line("import", "--help")
        raise Refused(f"{path}: {error}; nothing in the file was run (`{known}` names what can be read)") from error


def read(data: memoryview, path: Path) -> Any:
    """Reads the value of a file."""
    if bytes(data[:4]) == ZIP:
        return read_zip(data, path)
    machine = Machine(data, persistent=_no_storage, legacy=read_legacy)
    value = machine.load()
    return read_legacy(data, machine.budget) if type(value) is int and value == MAGIC else value


def _no_storage(identifier: Any) -> Any:
    raise Refused("a persistent id, which has no meaning in this file")


def described_storage(identifier: Any) -> tuple[Storage, str]:
    """The storage of a persistent id ("storage", kind, key, location, numel, …), and its key.

    Raises:
        Refused: it is not a storage, or of an unknown form.
    """
    if not isinstance(identifier, tuple) or len(identifier) < 5 or identifier[0] != "storage":
        raise Refused("a persistent id that is not a storage")
    _, kind, key, _, numel = identifier[:5]
    if not isinstance(kind, Global) or kind.name not in STORAGES or type(key) is not str or type(numel) is not int:
        raise Refused("a storage in no known form")
    if not 0 <= numel < 1 << 40 or (len(identifier) > 5 and identifier[5] is not None):
        raise Refused(f"a storage of {numel} numbers")
    return Storage(STORAGES[kind.name], numel), key


def read_legacy(data: memoryview, budget: Budget) -> Any:
    """Reads the format of `torch.save` before its zip format; it can be embedded in other pickles, but not in
    itself.

    Raises:
        Refused: the file is damaged or of another format.
    """
    storages: dict[str, Storage] = {}

    def persistent(identifier: Any) -> Storage:
        storage, key = described_storage(identifier)
        before = storages.setdefault(key, storage)
        if (before.dtype, before.numel) != (storage.dtype, storage.numel):
            raise Refused("two storages under one name")
        return before

    machine = Machine(data, persistent=persistent, budget=budget)
    if machine.load() != MAGIC or machine.load() != LEGACY_VERSION:
        raise Refused("not one of torch's files")
    system = machine.load()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise Refused("written on a machine of another byte order")
    value, keys = machine.load(), machine.load()
    if not isinstance(keys, list) or any(type(key) is not str for key in keys) or sorted(keys) != sorted(storages):
        raise Refused("the storages are not those that tensors are made of: the file is damaged")
    for key in keys:
        storage = storages[key]
        if machine.number("<q") != storage.numel:
            raise Refused("a storage does not have its declared size: the file is damaged")
        storage.span = machine.span(storage.numel * storage.dtype.itemsize)
    return value


def read_zip(data: memoryview, path: Path) -> Any:
    """Reads the format of `torch.save`: an uncompressed zip with one pickle and one entry per storage.

    Raises:
        Refused: the file is damaged, or not a zip that torch writes.
    """
    entries = _entries(data, path)
    pickles = [name for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        raise Refused("a zip, but not one that torch wrote")
    root = pickles[0].removesuffix("data.pkl")
    if (order := entries.get(f"{root}byteorder")) is not None and bytes(order.read()) != b"little":
        raise Refused("written on a machine of another byte order")
    storages: dict[str, Storage] = {}

    def persistent(identifier: Any) -> Storage:
        storage, key = described_storage(identifier)
        span = entries.get(f"{root}data/{key}")
        if span is None or span.length != storage.numel * storage.dtype.itemsize:
            raise Refused(f"the numbers of storage {key!r:.40} are missing or have another size")
        storage.span = span
        return storages.setdefault(key, storage)

    return Machine(entries[pickles[0]].read(), persistent=persistent, legacy=read_legacy).load()


def _entries(data: memoryview, path: Path) -> dict[str, Span]:
    """The entries of a zip, by name. Nothing is decompressed: torch stores entries uncompressed, so others are
    refused."""
    entries: dict[str, Span] = {}
    try:
        with zip_of_weights(path) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, EOFError, IndexError) as error:
        raise Refused(f"a damaged zip: {error}") from error
    if any(info.filename.split("/", 1)[-1].startswith(("code/", "constants.pkl")) for info in infos):
        raise Refused("a TorchScript archive, which holds a program and not only weights")
    if len(infos) > MOST_ENTRIES or sum(info.file_size for info in infos) > len(data):
        raise Refused("a zip that declares more bytes than the file has")
    for info in infos:
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size or info.flag_bits & 0x1:
            raise Refused("a compressed or encrypted zip, which torch never writes")
        if info.filename in entries:
            raise Refused(f"a zip with two entries called {info.filename!r:.80}")
        header = bytes(data[info.header_offset : info.header_offset + LOCAL_HEADER])
        if len(header) < LOCAL_HEADER or header[:4] != ZIP:
            raise Refused("a damaged zip")
        begin = info.header_offset + LOCAL_HEADER
        begin += int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        span = Span(data, begin, info.file_size)
        if begin + info.file_size > len(data) or zlib.crc32(span.read()) != info.CRC:
            raise Refused(f"{info.filename!r:.80} does not match its checksum: the file is damaged")
        entries[info.filename] = span
    return entries
