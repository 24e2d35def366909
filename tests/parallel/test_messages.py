"""Messages between processes are read without executing code."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from steadygan.errors import UserError
from steadygan.parallel.messages import decode, encode


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    "value",
    [None, True, 3, 2.5, "text", ("done", None), ["a", 1, {"b": (2, "c")}], {"step": 3, "skipped": 2**40}],
)
def test_plain_values_arrive_as_they_were(value: object) -> None:
    assert decode(encode(value)) == value


def test_tensors_arrive_bit_for_bit() -> None:
    sent = ("help", (4, torch.arange(3), torch.tensor([1e-40, float("inf")], dtype=torch.float64)))

    kind, (num, labels, numbers) = decode(encode(sent))

    assert (kind, num) == ("help", 4)
    torch.testing.assert_close(labels, torch.arange(3), rtol=0, atol=0)
    torch.testing.assert_close(numbers, sent[1][2], rtol=0, atol=0)
    assert numbers.dtype == torch.float64


def test_a_pickle_that_would_run_code_is_refused_unrun(tmp_path: Path) -> None:
    plain = pickle.dumps(Bomb(tmp_path / "plain"))
    file = io.BytesIO()
    torch.save({"step": Bomb(tmp_path / "saved")}, file)

    for data in (plain, file.getvalue()):
        with pytest.raises(UserError, match="not a message of steadygan"):
            decode(torch.frombuffer(bytearray(data), dtype=torch.uint8))

    assert not list(tmp_path.iterdir())
