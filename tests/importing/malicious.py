"""Malicious pickles as bytes: unpickling them would call `os.system` or worse."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Mapping
from typing import Any

from steadygan.importing.files import LEGACY_VERSION, MAGIC

PROTOCOL = b"\x80\x04"


def short(text: str) -> bytes:
    data = text.encode()
    return b"\x8c" + bytes([len(data)]) + data


def stack_global(module: str, name: str) -> bytes:
    return short(module) + short(name) + b"\x93"


def call(module: str, name: str, *arguments: bytes) -> bytes:
    return stack_global(module, name) + b"(" + b"".join(arguments) + b"tR"


class Reduce:
    """Pickles as a call of `what`."""

    def __init__(self, what: Any, *arguments: Any) -> None:
        self.what, self.arguments = what, arguments

    def __reduce__(self) -> Any:
        return self.what, self.arguments


def _reduced(what: Any, *arguments: Any, protocol: int = 4) -> bytes:
    return pickle.dumps({"G_ema": Reduce(what, *arguments)}, protocol)


def _os_system() -> Any:
    import os

    return os.system


ORDERED = stack_global("collections", "OrderedDict")
SYSTEM = stack_global("os", "system")
CODE = b"}(" + short("type") + short("module") + short("module_src") + short("import os; os.system('x')") + b"u"
INNER = _reduced(_os_system(), "touch canary")
NESTED = b"B" + struct.pack("<I", len(INNER)) + INNER
MALICIOUS: Mapping[str, bytes] = {
    "os.system": _reduced(_os_system(), "touch canary"),
    "os.system by protocol 0": _reduced(_os_system(), "touch canary", protocol=0),
    "os.system by protocol 2": _reduced(_os_system(), "touch canary", protocol=2),
    "eval": _reduced(eval, "open('canary', 'w')"),
    "exec": _reduced(exec, "open('canary', 'w')"),
    "open": _reduced(open, "canary", "w"),
    "__import__": _reduced(__import__, "antigravity"),
    "getattr": PROTOCOL
    + call("builtins", "getattr", stack_global("collections", "OrderedDict"), short("__init__"))
    + b".",
    "dotted name": PROTOCOL + stack_global("collections", "OrderedDict.__init__.__globals__") + b".",
    "dotted name of an allowed module": PROTOCOL + stack_global("torch._utils", "os.system") + b".",
    "module with a dot at its end": PROTOCOL + stack_global("torch", "_utils.sys.modules") + b".",
    "name split elsewhere": PROTOCOL + stack_global("torch_utils", "persistence._reconstruct_persistent_obj") + b".",
    "empty module": PROTOCOL + stack_global("", "os.system") + b".",
    "name that is not text": PROTOCOL + b"K\x01K\x02\x93.",
    "GLOBAL of posix": b"\x80\x02cposix\nsystem\n(U\x0ctouch canarytR.",
    "GLOBAL with a newline in the memo": b"\x80\x02c__builtin__\neval\nq\x00(h\x00tR.",
    "INST": b"(S'touch canary'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nS'touch canary'\no.",
    "EXT1": b"\x80\x02\x82\x01.",
    "EXT2": b"\x80\x02\x83\x01\x00.",
    "EXT4": b"\x80\x02\x84\x01\x00\x00\x00.",
    "NEWOBJ_EX": PROTOCOL + stack_global("collections", "OrderedDict") + b")}\x92.",
    "NEWOBJ of a class that is not known": PROTOCOL + stack_global("subprocess", "Popen") + b")\x81.",
    "call of a dictionary": PROTOCOL + b"})R.",
    "call of a text": PROTOCOL + short("os.system") + b")R.",
    "call of a tensor type": PROTOCOL + stack_global("torch", "float32") + b")R.",
    "call of an object": PROTOCOL + stack_global("argparse", "Namespace") + b")\x81)R.",
    "BUILD with __setstate__": PROTOCOL
    + stack_global("collections", "OrderedDict")
    + b"}"
    + short("__setstate__")
    + stack_global("os", "system")
    + b"sb"
    + short("touch canary")
    + b"b.",
    "BUILD on a name": PROTOCOL
    + stack_global("collections", "OrderedDict")
    + b"N}"
    + short("__reduce__")
    + b"Ns\x86b.",
    "BUILD on a list": PROTOCOL + b"]}" + short("x") + b"Nsb.",
    "BUILD with __class__": PROTOCOL
    + stack_global("argparse", "Namespace")
    + b")\x81}"
    + short("__class__")
    + stack_global("os", "system")
    + b"sb.",
    "persistent id": PROTOCOL + short("storage") + b"Q.",
    "PERSID": b"\x80\x02Pstorage\n.",
    "persistent object with code": PROTOCOL
    + call("torch_utils.persistence", "_reconstruct_persistent_obj", CODE)
    + b".",
    "storage made of a pickle": PROTOCOL + call("torch.storage", "_load_from_bytes", NESTED) + b".",
    "torch.load": PROTOCOL + call("torch", "load", short("/etc/passwd")) + b".",
    "torch.hub": PROTOCOL + call("torch.hub", "load", short("x")) + b".",
    "numpy.load": PROTOCOL + call("numpy", "load", short("/etc/passwd")) + b".",
    "numpy's object arrays": PROTOCOL + call("numpy", "dtype", short("O8")) + b".",
    "_codecs.encode to something else": PROTOCOL + call("_codecs", "encode", short("x"), short("zlib_codec")) + b".",
    "functools.partial": PROTOCOL + call("functools", "partial", SYSTEM, short("touch canary")) + b".",
    "operator.attrgetter": PROTOCOL + call("operator", "attrgetter", short("system")) + b".",
    "builtins.map": PROTOCOL + stack_global("builtins", "map") + b".",
    "copyreg": PROTOCOL + stack_global("copyreg", "_reconstructor") + b".",
    "TensorFlow pickle": PROTOCOL + stack_global("dnnlib.tflib.network", "Network") + b")\x81.",
}

DOUBLED = b"".join(b"h" + bytes([i]) + b"h" + bytes([i]) + b"\x86\x94" for i in range(100))
LAUGHS = b"(" + short("lol") + b"t\x94" + DOUBLED
REBUILT = call("torch._utils", "_rebuild_tensor_v2", b"N", b"K\x00", b"h\x64", b"h\x64")
GREAT = b"}\x94(" + b"".join(b"J" + struct.pack("<i", i) + b"N" for i in range(5000)) + b"u"
TEXT = b"X" + struct.pack("<I", 1 << 20) + b"x" * (1 << 20)
DEVICE = stack_global("torch", "device")


def nested(depth: int) -> bytes:
    """A storage whose bytes are a pickle with a storage, and so on."""
    content = b"N"
    for _ in range(depth):
        head = b"".join(pickle.dumps(value, 2) for value in (MAGIC, LEGACY_VERSION, {"little_endian": True}))
        inner = head + PROTOCOL + content + b"." + pickle.dumps([], 2)
        content = call("torch.storage", "_load_from_bytes", b"B" + struct.pack("<I", len(inner)) + inner)
    return PROTOCOL + content + b"."


GREEDY: Mapping[str, bytes] = {
    "storages within storages": nested(500),
    "a device of a long text many times": PROTOCOL + TEXT + b"\x940" + DEVICE + b"(" + b"h\x00" * 20_000 + b"tR.",
    "a device that doubles": PROTOCOL
    + TEXT
    + b"\x94"
    + b"".join(DEVICE + b"(" + bytes([104, i, 104, i]) + b"tR\x94" for i in range(12))
    + b".",
    "a great object changed again and again": PROTOCOL
    + stack_global("argparse", "Namespace")
    + b")R"
    + GREAT
    + b"b"
    + b"}K\x01Nsb" * 100_000
    + b".",
    "bytes longer than the file": PROTOCOL + b"\x8e" + struct.pack("<Q", 1 << 40) + b"x.",
    "text longer than the file": PROTOCOL + b"\x8d" + struct.pack("<Q", 1 << 40) + b"x.",
    "byte array longer than the file": PROTOCOL + b"\x96" + struct.pack("<Q", 1 << 62) + b"x.",
    "frame longer than the file": PROTOCOL + b"\x95" + struct.pack("<Q", 1 << 62) + b"N.",
    "negative length": PROTOCOL + b"\x8b" + struct.pack("<i", -5) + b"N.",
    "integer of a megabyte": PROTOCOL + b"\x8b" + struct.pack("<I", 1 << 20) + b"\x7f" * (1 << 20) + b".",
    "nested tuples that double": PROTOCOL + LAUGHS + b".",
    "nested tuples as a key": PROTOCOL + b"}" + LAUGHS + b"Ns.",
    "nested tuples in a set": PROTOCOL + b"\x8f(" + LAUGHS + b"\x90.",
    "nested tuples as a size": PROTOCOL + LAUGHS + b"0" + REBUILT + b".",
    "nested tuples as a type": PROTOCOL + LAUGHS + b"0" + call("numpy", "dtype", b"h\x64") + b".",
    "lists within lists": PROTOCOL + b"]" * 50_000 + b"a" * 49_999 + b".",
    "tuples within tuples": PROTOCOL + b")" + b"\x85" * 50_000 + b".",
    "too many opcodes": PROTOCOL + b"N0" * 500_001 + b"N.",
    "a great dictionary copied again and again": PROTOCOL
    + GREAT
    + (stack_global("argparse", "Namespace") + b")\x81h\x00b0") * 5000
    + b"N.",
    "a memo far away": PROTOCOL + b"Nr" + struct.pack("<I", (1 << 32) - 1) + b".",
    "a value from an empty memo": PROTOCOL + b"h\x05.",
    "an empty stack": PROTOCOL + b"0.",
    "a mark that is not there": PROTOCOL + b"Nt.",
    "a mark as a value": PROTOCOL + b"(.",
    "a list in itself": PROTOCOL + b"]\x94h\x00a.",
    "a dictionary in itself": PROTOCOL + b"}\x94" + short("G_ema") + b"h\x00s.",
    "no end": PROTOCOL + b"]" * 1000,
}
