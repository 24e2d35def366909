"""Reads pickles without executing them: an interpreter for the data opcodes of the format.

Python's unpickler imports and calls whatever a file names. This one keeps a name as a name (`Global`). For a call in
the file, one of the few `CALLS` turns the arguments into an inert value; any other name is refused as soon as it is
read. Opcodes that writers of weights never use (old text forms, extension codes, out-of-band buffers) are refused too.
Lengths in the file are checked against the available bytes first.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any

from steadygan.importing.calls import (
    CALLS,
    DICTIONARIES,
    LEGACY_TENSORFLOW,
    OBJECTS,
    NumpyArray,
    NumpyType,
    known,
    set_item,
    simple_set,
)
from steadygan.importing.values import MOST_NAME, Budget, Global, Made, Refused, Span

MOST_TEXT = 8 << 20
MOST_INT_BYTES = 128


class _Mark:
    pass


MARK = _Mark()


class Machine:
    """Reads the pickles of a file in sequence.

    Args:
        data: the file or a part of it.
        place: offset of the next byte.
        persistent: resolves persistent ids, for torch's formats.
        budget: shared by all pickles of a file.
        legacy: reads an embedded torch file.
    """

    def __init__(
        self,
        data: memoryview,
        *,
        place: int = 0,
        persistent: Callable[[Any], Any] | None = None,
        budget: Budget | None = None,
        legacy: Callable[[memoryview, Budget], Any] | None = None,
    ) -> None:
        self.data, self.place = data, place
        self.persistent, self.legacy = persistent, legacy
        self.budget = budget or Budget()
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def load(self) -> Any:
        """The next pickle's value.

        Raises:
            Refused: the pickle is damaged, or contains an opcode that weights do not need.
        """
        self.stack, self.memo = [], {}
        while True:
            self.budget.spend()
            code = self.take(1)[0]
            if code == ord("."):
                return self.pop()
            handler = HANDLERS.get(code)
            if handler is None:
                raise Refused(f"pickle opcode {bytes([code])!r} at byte {self.place - 1}: no writer of weights uses it")
            handler(self)

    # ---------------------------------------------------------------- bytes and stack
    def take(self, length: int) -> memoryview:
        if length < 0 or self.place + length > len(self.data):
            raise Refused("the file ends in the middle of a value: it is truncated or damaged")
        part = self.data[self.place : self.place + length]
        self.place += length
        return part

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def text(self, length: int, encoding: str = "utf-8") -> str:
        if length > MOST_TEXT:
            raise Refused(f"a text of {length:,} bytes: no file of weights has one")
        try:
            return str(self.take(length), encoding, "surrogatepass" if encoding == "utf-8" else "strict")
        except UnicodeDecodeError as error:
            raise Refused("a text is not valid: the file is damaged") from error

    def line(self) -> str:
        end = bytes(self.data[self.place : self.place + MOST_NAME]).find(b"\n")
        if end < 0:
            raise Refused(f"a name longer than {MOST_NAME} bytes")
        text = self.text(end)
        self.place += 1
        return text

    def span(self, length: int) -> Span:
        start = self.place
        self.take(length)
        return Span(self.data, start, length)

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if not self.stack or self.stack[-1] is MARK:
            raise Refused("a value is missing: the file is damaged")
        return self.stack.pop()

    def top(self) -> Any:
        if not self.stack or self.stack[-1] is MARK:
            raise Refused("a value is missing: the file is damaged")
        return self.stack[-1]

    def pop_mark(self) -> list[Any]:
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place] is MARK:
                items = self.stack[place + 1 :]
                del self.stack[place:]
                return items
        raise Refused("a mark is missing: the file is damaged")

    # ---------------------------------------------------------------- names and calls
    def name(self, module: Any, name: Any) -> None:
        if type(module) is not str or type(name) is not str:
            raise Refused("a name that is not text")
        full = f"{module}.{name}"
        if full in LEGACY_TENSORFLOW:
            raise Refused(
                "a StyleGAN pickle of the TensorFlow era, which holds a program and not only weights; convert it with "
                "NVIDIA's own `legacy.py` (stylegan2-ada-pytorch or stylegan3), and import the .pkl that makes"
            )
        if module.startswith("torch.nn.modules."):
            raise Refused(f"a whole network was pickled ({full:.200}), not its state dict; save that, and import it")
        if not known(module, name):
            raise Refused(f"the file asks for {full!r:.300}, which is not part of any supported format")
        self.push(Global(module, name))

    def call(self, what: Any, arguments: Any) -> Any:
        if not isinstance(what, Global) or not isinstance(arguments, tuple):
            raise Refused("the file calls something that is not a name")
        full = str(what)
        if full in DICTIONARIES:
            return self.dictionary(full, arguments)
        if full in OBJECTS and not arguments:
            return Made(OBJECTS[full])
        if (maker := CALLS.get(full)) is None:
            raise Refused(f"the file calls {full} in a way that no supported format does")
        try:
            return maker(self, *arguments)
        except TypeError as error:
            raise Refused(f"the file calls {full} with arguments it does not take") from error

    def dictionary(self, full: str, arguments: tuple[Any, ...]) -> dict[Any, Any]:
        made: dict[Any, Any] = {}
        if arguments:
            if len(arguments) > 1 or not isinstance(arguments[0], list | dict):
                raise Refused(f"the file calls {full} in an unknown way")
            self.budget.spend(len(arguments[0]))
            pairs = list(arguments[0].items()) if isinstance(arguments[0], dict) else arguments[0]
            for pair in pairs:
                if not isinstance(pair, list | tuple) or len(pair) != 2:
                    raise Refused(f"the file calls {full} in an unknown way")
                set_item(made, *pair)
        return made

    def build(self, target: Any, state: Any) -> None:
        """Sets attributes of the object on top of the stack.

        Raises:
            Refused: the object has no state.
        """
        if isinstance(target, Made) and isinstance(state, dict):
            self.budget.spend(len(state) + len(target.state))
            target.state = {**target.state, **state}
        elif isinstance(target, NumpyArray):
            target.fill(state)
        elif isinstance(target, NumpyType):
            target.order(state)
        elif not (isinstance(target, dict) and isinstance(state, dict | tuple)):
            raise Refused(f"the file sets the state of a {type(target).__name__}, which has none")
        # Attributes of a dictionary (`_metadata` of a state dict) are not needed.


# -------------------------------------------------------------------- opcodes
def _push(form: str) -> Callable[[Machine], None]:
    return lambda machine: machine.push(machine.number(form))


def _constant(make: Callable[[], Any]) -> Callable[[Machine], None]:
    return lambda machine: machine.push(make())


def _text(form: str, encoding: str = "utf-8") -> Callable[[Machine], None]:
    return lambda machine: machine.push(machine.text(machine.number(form), encoding))


def _bytes(form: str) -> Callable[[Machine], None]:
    return lambda machine: machine.push(machine.span(machine.number(form)))


def _long(form: str) -> Callable[[Machine], None]:
    def read(machine: Machine) -> None:
        length = machine.number(form)
        if length > MOST_INT_BYTES:
            raise Refused(f"an integer of {length} bytes")
        machine.push(int.from_bytes(machine.take(length), "little", signed=True))

    return read


def _tuple(length: int) -> Callable[[Machine], None]:
    return lambda machine: machine.push(tuple(reversed([machine.pop() for _ in range(length)])))


def _append(machine: Machine, items: list[Any]) -> None:
    target = machine.top()
    if not isinstance(target, list):
        raise Refused("an item of something that is not a list")
    target.extend(items)


def _items(machine: Machine, items: list[Any]) -> None:
    if len(items) % 2:
        raise Refused("a key without a value: the file is damaged")
    target = machine.top()
    for key, value in zip(items[::2], items[1::2], strict=True):
        set_item(target, key, value)


def _add(machine: Machine) -> None:
    items, target = machine.pop_mark(), machine.top()
    if not isinstance(target, set):
        raise Refused("an element of something that is not a set")
    target.update(simple_set(machine, items))


def _setitem(machine: Machine) -> None:
    value, key = machine.pop(), machine.pop()
    _items(machine, [key, value])


def _marked_dict(machine: Machine) -> None:
    items = machine.pop_mark()
    machine.push({})
    _items(machine, items)


def _memoize(machine: Machine, key: int) -> None:
    machine.memo[key] = machine.top()


def _get(machine: Machine, key: int) -> None:
    if key not in machine.memo:
        raise Refused("a value that was never stored: the file is damaged")
    machine.push(machine.memo[key])


def _global(machine: Machine) -> None:
    module = machine.line()
    machine.name(module, machine.line())


def _stack_global(machine: Machine) -> None:
    name, module = machine.pop(), machine.pop()
    machine.name(module, name)


def _reduce(machine: Machine) -> None:
    arguments, what = machine.pop(), machine.pop()
    machine.push(machine.call(what, arguments))


def _build(machine: Machine) -> None:
    state = machine.pop()
    machine.build(machine.top(), state)


def _persistent_id(machine: Machine) -> None:
    identifier = machine.pop()
    if machine.persistent is None:
        raise Refused("a persistent id, which has no meaning in this file")
    machine.push(machine.persistent(identifier))


def _protocol(machine: Machine) -> None:
    if (version := machine.number("<B")) > 5:
        raise Refused(f"pickle protocol {version}")


def _frame(machine: Machine) -> None:
    if machine.number("<Q") > len(machine.data) - machine.place:
        raise Refused("a frame is longer than the file: it is truncated or damaged")


HANDLERS: Mapping[int, Callable[[Machine], None]] = {
    ord(code): handler
    for code, handler in {
        "\x80": _protocol,
        "\x95": _frame,
        "(": lambda machine: machine.push(MARK),
        "0": lambda machine: machine.stack.pop() if machine.stack and machine.stack[-1] is MARK else machine.pop(),
        "1": lambda machine: machine.pop_mark(),
        "2": lambda machine: machine.push(machine.top()),
        "N": _constant(lambda: None),
        "\x88": _constant(lambda: True),
        "\x89": _constant(lambda: False),
        "J": _push("<i"),
        "K": _push("<B"),
        "M": _push("<H"),
        "G": _push(">d"),
        "\x8a": _long("<B"),
        "\x8b": _long("<I"),
        "X": _text("<I"),
        "\x8c": _text("<B"),
        "\x8d": _text("<Q"),
        "T": _text("<I", "latin1"),
        "U": _text("<B", "latin1"),
        "B": _bytes("<I"),
        "C": _bytes("<B"),
        "\x8e": _bytes("<Q"),
        "\x96": _bytes("<Q"),
        "]": _constant(list),
        ")": _constant(tuple),
        "}": _constant(dict),
        "\x8f": _constant(set),
        "a": lambda machine: _append(machine, [machine.pop()]),
        "e": lambda machine: _append(machine, machine.pop_mark()),
        "l": lambda machine: machine.push(machine.pop_mark()),
        "t": lambda machine: machine.push(tuple(machine.pop_mark())),
        "\x85": _tuple(1),
        "\x86": _tuple(2),
        "\x87": _tuple(3),
        "d": _marked_dict,
        "s": _setitem,
        "u": lambda machine: _items(machine, machine.pop_mark()),
        "\x90": _add,
        "q": lambda machine: _memoize(machine, machine.number("<B")),
        "r": lambda machine: _memoize(machine, machine.number("<I")),
        "\x94": lambda machine: _memoize(machine, len(machine.memo)),
        "h": lambda machine: _get(machine, machine.number("<B")),
        "j": lambda machine: _get(machine, machine.number("<I")),
        "c": _global,
        "\x93": _stack_global,
        "R": _reduce,
        "\x81": _reduce,
        "b": _build,
        "Q": _persistent_id,
    }.items()
}
