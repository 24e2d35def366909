"""Pickles are read and never executed."""

from __future__ import annotations

import argparse
import pickle
import tracemalloc
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from importing.malicious import GREEDY, MALICIOUS
from importing.watching import watched

from steadygan.errors import UserError
from steadygan.importing import import_files
from steadygan.importing.files import read_file, read_legacy
from steadygan.importing.layouts.common import module_tensors, state_dict
from steadygan.importing.unpickle import Machine
from steadygan.importing.values import Array, Global, Made, Refused, plain


def load(value: Any, protocol: int = 4) -> Any:
    return Machine(memoryview(pickle.dumps(value, protocol)), legacy=read_legacy).load()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_values_are_those_that_were_pickled(protocol: int) -> None:
    value = {"a": [1, -2, 2**40, 1.5, None, True, "é"], "b": {3: (4, ()), "c": {"d": []}}, "e": {1, 2}}
    assert load(value, protocol) == value
    assert load(OrderedDict(value), protocol) == value


def test_the_watch_sees_what_pickle_itself_would_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with watched() as noted:
        pickle.loads(MALICIOUS["open"])["G_ema"].close()
    assert any("canary" in line for line in noted)


def test_namespaces_and_numpy_numbers_are_values() -> None:
    made = load(argparse.Namespace(size=256, path="data"))
    assert isinstance(made, Made)
    assert plain(made) == {"size": 256, "path": "data"}
    assert load({"fid": np.float64(2.5), "step": np.int64(7)}) == {"fid": 2.5, "step": 7}
    assert load(np.float32(0.5), 2) == 0.5


def test_types_stay_names() -> None:
    assert load(torch.float32) == Global("torch", "float32")


def read(data: bytes, folder: Path) -> Any:
    (folder / "file.pkl").write_bytes(data)
    return read_file(folder / "file.pkl")


@pytest.mark.parametrize("name", MALICIOUS)
def test_a_file_that_wants_more_than_values_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file.pkl").write_bytes(MALICIOUS[name])
    monkeypatch.chdir(tmp_path)
    with watched() as noted, pytest.raises(Refused) as caught:
        import_files([Path("file.pkl")], Path("out"))
    assert noted == []
    assert [path.name for path in tmp_path.iterdir()] == ["file.pkl"]
    assert "file.pkl" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("eval", "builtins.eval"),
        ("os.system", "posix.system"),
        ("dotted name", "__globals__"),
        ("torch.load", "torch.load"),
    ],
)
def test_what_is_refused_is_named(name: str, what: str, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=what):
        read(MALICIOUS[name], tmp_path)


def test_a_tensorflow_pickle_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"legacy\.py"):
        read(MALICIOUS["TensorFlow pickle"], tmp_path)


@pytest.mark.parametrize("name", GREEDY)
def test_no_file_takes_memory_or_time_out_of_proportion(name: str, tmp_path: Path) -> None:
    (tmp_path / "file.pkl").write_bytes(GREEDY[name])
    tracemalloc.start()
    try:
        with pytest.raises(UserError):
            import_files([tmp_path / "file.pkl"], tmp_path / "out")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 200 << 20
    assert not (tmp_path / "out").exists()


def test_a_long_text_is_not_copied_as_often_as_a_file_names_it() -> None:
    text = "x" * (1 << 16)
    assert plain([text]) == [text]
    for value in ([text] * 1000, [{text: 1}] * 1000, {"args": tuple([text] * 1000)}):
        with pytest.raises(Refused, match="arguments: too large"):
            plain(value)


def test_modules_that_share_tensors_or_long_names_are_refused_before_they_are_copied() -> None:
    tensor = load({"w": torch.zeros(2)})["w"]

    def twins(parameters: dict[str, Any]) -> Made:
        inner = Made("Layer", {"_parameters": parameters})
        return Made("Network", {"_modules": {f"m{number}": inner for number in range(9000)}})

    assert len(module_tensors(twins({"weight": tensor, "bias": tensor}), "G")) == 18_000
    with pytest.raises(Refused, match="more than 20,000 tensors"):
        module_tensors(twins({f"p{number}": tensor for number in range(9000)}), "G")
    with pytest.raises(Refused, match="more than 256 letters"):
        module_tensors(twins({"x" * 1000: tensor}), "G")
    with pytest.raises(Refused, match="more than 256 letters"):
        state_dict({"x" * 1000: tensor}, "G")


def test_tensors_in_a_plain_pickle_are_read_with_their_strides() -> None:
    torch.manual_seed(0)
    for tensor in (torch.randn(2, 3), torch.randn(4, 3).t(), torch.randn(8)[2:5], torch.tensor(3), torch.zeros(0, 2)):
        array = load({"w": tensor})["w"]
        assert isinstance(array, Array)
        assert torch.equal(array.tensor(), tensor)
        assert array.tensor().dtype == tensor.dtype


def test_a_tensor_larger_than_its_storage_is_refused() -> None:
    from steadygan.importing.values import Storage, checked_array

    storage = Storage(torch.float32, 4)
    for shape, stride, offset in (((5,), (1,), 0), ((2, 2), (4, 1), 0), ((2,), (1,), 3), ((1 << 20,), (0,), 0)):
        with pytest.raises(Refused):
            checked_array(storage, offset, shape, stride)
    assert checked_array(storage, 1, (3,), (1,)).shape == (3,)
