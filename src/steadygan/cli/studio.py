"""`steadygan studio`."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from steadygan.errors import UserError, command_line


def studio(
    path: Annotated[Path, typer.Argument(help="the directory with your runs")] = Path("runs"),
    control: Annotated[bool, typer.Option("--control", help="also start, stop and branch runs")] = False,
    data: Annotated[
        list[Path] | None, typer.Option(help="with --control: images to start from; may be given several times")
    ] = None,
    host: Annotated[str, typer.Option(help="the address to listen on; any other than 127.0.0.1 needs a token")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="the port to listen on; 0: any free one")] = 8000,
    device: Annotated[str, typer.Option(help="the device that generates images: cpu, cuda, …")] = "cpu",
    memory: Annotated[float, typer.Option(min=0.5, help="memory limit for generating images, in GiB")] = 8.0,
) -> None:
    """Watch, steer and play with runs in a browser."""
    try:
        import uvicorn

        from steadygan.studio.security import is_loopback, new_token
        from steadygan.studio.server import Studio, create_app
    except ImportError as error:
        raise UserError(
            f"the studio needs {error.name}: `pip install starlette uvicorn` (steadygan's extra 'studio')"
        ) from None
    if not path.is_dir():
        raise UserError(
            f"{path} is not a directory; name the one your runs are in, e.g. `{command_line('studio', 'runs/')}`"
        )
    for folder in data or ():
        if not folder.is_dir():
            raise UserError(f"--data {folder} is not a directory; give a folder of images, or of such folders")
    shared = Studio(path.resolve(), allowed=control, data=tuple(data or ()), device=device, memory_gib=memory)
    token = None if is_loopback(host) else new_token()
    listener = _listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    link = f"http://{shown}:{listener.getsockname()[1]}/" + ("" if token is None else f"?token={token}")
    typer.echo(f"studio      {link}")
    if token is not None:
        typer.echo("            anyone with this link can see these runs; the connection is not encrypted")
    if not control:
        typer.echo("            read-only; --control also starts and steers runs")
    app = create_app(shared, token, (host.lower(),))
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=3, server_header=False
    )

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            shared.pulse.ending.set()
            threading.Thread(target=shared.close, daemon=True).start()  # release clients that wait for images
            super().handle_exit(sig, frame)

    Server(config).run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(100)  # early connections wait until the server is ready
    except OSError as error:
        listener.close()
        raise UserError(f"cannot listen on {host}:{port} ({error.strerror}); choose another with --port") from error
    return listener
