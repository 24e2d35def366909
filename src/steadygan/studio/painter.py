"""The parent's side of the process that makes images: ask, wait, and start it again when it is lost."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import threading
from typing import IO, Any

MEMORY_GIB = 8.0
LONGEST = 1 << 30
"""Bytes of an answer beyond which something is wrong."""


class PainterError(Exception):
    """An image that could not be made; the message is for the person at the page."""


class Busy(PainterError):
    """Others are waiting already."""


class Painter:
    """A child process that answers one question after another.

    Both sides send a length (4 bytes, big-endian), so many bytes of JSON, and after an answer's JSON so many raw bytes
    as it names in `bytes`: nothing that is received is ever unpickled or executed. The process starts with the first
    question, is killed when an answer takes too long, and is restarted if it dies.

    device: as for `steadygan.load`; memory_gib: what the process may hold, where the system can bound it.
    """

    def __init__(self, device: str = "cpu", memory_gib: float = MEMORY_GIB, waiting: int = 6) -> None:
        self.device, self.memory_gib = device, memory_gib
        self._turn = threading.Lock()
        self._places = threading.BoundedSemaphore(waiting)
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    def ask(self, do: str, *, seconds: float = 60, **arguments: Any) -> tuple[dict[str, Any], bytes]:
        """The answer to one question, and the bytes that come with it.

        Raises `Busy`, or `PainterError` with what the other side says, or that it was lost or took too long.
        """
        if not self._places.acquire(blocking=False):
            raise Busy("others are waiting for images already; try again in a moment")
        try:
            with self._turn:
                return self._ask({"do": do, **arguments}, seconds)
        finally:
            self._places.release()

    def _ask(self, question: dict[str, Any], seconds: float) -> tuple[dict[str, Any], bytes]:
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Event()

        def give_up() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(seconds, give_up)
        timer.daemon = True
        timer.start()
        try:
            send(process.stdin, question)
            answer = receive(process.stdout)
            size = answer.get("bytes", 0)
            if not isinstance(size, int) or not 0 <= size <= LONGEST:
                raise EOFError
            data = exactly(process.stdout, size)
        except (OSError, EOFError, ValueError):
            self._end()
            if self._closed:
                raise PainterError("the studio has ended") from None
            if late.is_set():
                raise PainterError(f"this took longer than {seconds:g} s and was given up") from None
            raise PainterError(
                f"the process that makes images was lost (it may hold {self.memory_gib:g} GiB; see --memory)"
            ) from None
        finally:
            timer.cancel()
        if answer.get("fatal"):
            self._end()
        if "error" in answer:
            raise PainterError(str(answer["error"]))
        return answer, data

    def _running(self) -> subprocess.Popen[bytes]:
        if self._closed:
            raise PainterError("the studio has ended")
        if self._process is None or self._process.poll() is not None:
            self._end()
            environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
            if self.device == "cpu":
                environment["CUDA_VISIBLE_DEVICES"] = ""
            command = [sys.executable, "-m", "steadygan.studio.worker", self.device, str(self.memory_gib)]
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                start_new_session=True,
            )
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    try:
                        pipe.close()
                    except OSError:
                        continue
            process.wait()

    def close(self) -> None:
        """Ends the process, whatever it is doing; whoever waits for it gets an error."""
        self._closed = True
        process = self._process
        if process is not None:
            process.kill()
        with self._turn:
            self._end()


def send(pipe: IO[bytes], message: dict[str, Any], data: bytes = b"") -> None:
    """One message, and raw bytes after it."""
    text = json.dumps({**message, "bytes": len(data)} if data else message).encode()
    pipe.write(struct.pack(">I", len(text)) + text)
    pipe.write(data)
    pipe.flush()


def receive(pipe: IO[bytes]) -> dict[str, Any]:
    """One message. Raises `EOFError` at the end, `ValueError` for an invalid one."""
    (length,) = struct.unpack(">I", exactly(pipe, 4))
    found = json.loads(exactly(pipe, length))
    if not isinstance(found, dict):
        raise ValueError("not a message")
    return found


def exactly(pipe: IO[bytes], size: int) -> bytes:
    """So many bytes. Raises `EOFError` when there are fewer."""
    parts, left = [], size
    while left:
        part = pipe.read(min(left, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
