"""The parent's side of the process that generates images: sends requests, waits, restarts it if lost."""

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
"""Maximum plausible size of an answer in bytes."""


class PainterError(Exception):
    """An image could not be generated; the message is for the user."""


class Busy(PainterError):
    """Too many requests are waiting."""


class Painter:
    """A child process that answers requests in sequence.

    Both sides send a length (4 bytes, big-endian), that many bytes of JSON, and for answers the number of raw bytes
    given in `bytes`; received data is never unpickled or executed. The process starts with the first request, is killed
    if an answer takes too long, and is restarted if it dies.

    Args:
        device: see `steadygan.load`.
        memory_gib: memory limit, if the system supports it.
    """

    def __init__(self, device: str = "cpu", memory_gib: float = MEMORY_GIB, waiting: int = 6) -> None:
        self.device, self.memory_gib = device, memory_gib
        self._turn = threading.Lock()
        self._places = threading.BoundedSemaphore(waiting)
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    def ask(self, do: str, *, seconds: float = 60, **arguments: Any) -> tuple[dict[str, Any], bytes]:
        """The answer to a request, and its raw bytes.

        Raises `Busy`, or `PainterError` with the child's message, or if it was lost or took too long.
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
                raise PainterError(f"this took longer than {seconds:g} s and was stopped") from None
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
        """Kills the process; pending requests get an error."""
        self._closed = True
        process = self._process
        if process is not None:
            process.kill()
        with self._turn:
            self._end()


def send(pipe: IO[bytes], message: dict[str, Any], data: bytes = b"") -> None:
    """Sends a message, followed by raw bytes."""
    text = json.dumps({**message, "bytes": len(data)} if data else message).encode()
    pipe.write(struct.pack(">I", len(text)) + text)
    pipe.write(data)
    pipe.flush()


def receive(pipe: IO[bytes]) -> dict[str, Any]:
    """Receives a message. Raises `EOFError` at the end, `ValueError` if it is invalid."""
    (length,) = struct.unpack(">I", exactly(pipe, 4))
    found = json.loads(exactly(pipe, length))
    if not isinstance(found, dict):
        raise ValueError("not a message")
    return found


def exactly(pipe: IO[bytes], size: int) -> bytes:
    """Reads exactly `size` bytes. Raises `EOFError` if there are fewer."""
    parts, left = [], size
    while left:
        part = pipe.read(min(left, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
