"""Each family's layout: networks survive a round trip."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from importing.writers import FAMILIES

from steadygan.importing import import_files
from steadygan.runs.checkpoint import read_manifest, read_weights


@pytest.mark.parametrize("family", FAMILIES)
def test_networks_come_back_as_they_were_written(family: str, tmp_path: Path) -> None:
    written = FAMILIES[family](tmp_path)
    imported = import_files(written.files, tmp_path / "out", written.options)
    weights = read_weights(tmp_path / "out")
    assert set(written.nets) <= {name.split(".")[0] for name in weights}
    assert set(imported.networks) >= set(written.nets)
    for name, net in written.nets.items():
        own = {key.removeprefix(f"{name}."): value for key, value in weights.items() if key.startswith(f"{name}.")}
        for key, value in net.state_dict().items():
            if key.endswith(("num_batches_tracked",)) or (key.endswith((".u", ".v")) and not written.exact):
                continue
            torch.testing.assert_close(own[key], value, rtol=1e-6, atol=1e-6, msg=f"{name}.{key}")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_manifest_says_where_the_weights_come_from(family: str, tmp_path: Path) -> None:
    written = FAMILIES[family](tmp_path)
    imported = import_files(written.files, tmp_path / "out", written.options)
    origin = read_manifest(tmp_path / "out")["origin"]
    assert [entry["name"] for entry in origin["files"]] == [path.name for path in written.files]
    assert all(len(entry["sha256"]) == 64 for entry in origin["files"])
    assert origin["family"] == imported.family
    assert origin["left_out"] == imported.left_out
