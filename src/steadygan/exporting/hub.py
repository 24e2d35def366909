"""Uploads to the Hugging Face Hub: only the folder of `folder.write`, to a repository that is private by default."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from steadygan.errors import UserError, require
from steadygan.exporting import folder
from steadygan.exporting.subject import Subject
from steadygan.runs.shared import NAMES, hub_name

T = TypeVar("T")
ATTEMPTS, FIRST_WAIT = 4, 1.0
"""Number of attempts, and seconds before the second; the wait doubles each time."""
TRANSIENT = {408, 429, 500, 502, 503, 504}


def upload(subject: Subject, to: str) -> str:
    """Uploads to `hub:USER/NAME`; returns the URL.

    Raises:
        UserError: huggingface_hub is not installed, the token is missing or lacks permission, or the Hub cannot be
        reached.
    """
    name, revision = hub_name(to)
    require("huggingface_hub", "hf", f"--to {to}")
    from huggingface_hub import HfApi, get_token

    token = subject.options.token or get_token()
    if not token:
        raise UserError(
            f"--to {to} needs a token that may write: make one in your account's settings on the Hub, then "
            "`hf auth login`, or set HF_TOKEN"
        )
    api = HfApi(token=token)
    private = not subject.options.public
    with tempfile.TemporaryDirectory() as temporary:
        folder.fill(subject, Path(temporary))
        patiently(to, lambda: api.create_repo(name, private=private, exist_ok=True))
        patiently(
            to,
            lambda: api.upload_folder(
                repo_id=name,
                folder_path=temporary,
                revision=revision,
                allow_patterns=list(NAMES),
                commit_message=f"steadygan: {subject.name}, step {subject.made.step}",
            ),
        )
    return f"{api.endpoint}/{name}"


def patiently(to: str, call: Callable[[], T], wait: Callable[[float], Any] = time.sleep) -> T:
    """Calls the Hub; retries temporary failures of its servers or the network.

    Raises:
        UserError: the last attempt failed, or retrying cannot help.
    """
    for attempt in range(ATTEMPTS):
        try:
            return call()
        except Exception as error:  # huggingface_hub raises errors of several HTTP libraries
            status = _status(error)
            passing = status in TRANSIENT or (status is None and any(isinstance(e, OSError) for e in _causes(error)))
            if not passing or attempt == ATTEMPTS - 1:
                raise UserError(f"--to {to}: {_reason(error, status)}") from error
            wait(FIRST_WAIT * 2**attempt)
    raise AssertionError


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and its chain of causes, as the client wraps errors of its threads."""
    while error is not None:
        yield error
        error = error.__cause__


def _status(error: Exception) -> int | None:
    """The HTTP status behind an error; None without a response."""
    responses = (getattr(cause, "response", None) for cause in _causes(error))
    return next((response.status_code for response in responses if response is not None), None)


def _reason(error: Exception, status: int | None) -> str:
    if status == 401:
        return (
            "the Hub does not accept the token: make another with write access, then `hf auth login`, or set HF_TOKEN"
        )
    if status == 403:
        return "the token may not write there: it needs write access to this name"
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return f"the Hub answered with an error: {first[:300]}"
