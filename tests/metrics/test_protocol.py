from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from steadygan.data.digits import digits, stacked_digits
from steadygan.errors import UserError
from steadygan.metrics import evaluation
from steadygan.metrics.evaluation import score
from steadygan.metrics.protocol import PROTOCOLS, Protocol, choose_protocol
from steadygan.pretrained.extractor import Extractor
from steadygan.pretrained.registry import EXTRACTORS

SMALL = replace(PROTOCOLS["digits"], num_fake=300)
IMAGES, LABELS = (torch.from_numpy(array) for array in digits())


def resample(number: int, labels: Tensor | None, seed: int, part: slice = slice(None), noise: int = 0) -> Tensor:
    """A perfect conditional generator: real images of the classes asked for, with uniform noise on top."""
    generator = torch.Generator().manual_seed(seed)
    wanted = torch.zeros(number, dtype=torch.int64) - 1 if labels is None else labels
    weights = ((wanted[:, None] == LABELS) | (wanted[:, None] < 0)).double()
    images = IMAGES[weights.multinomial(1, generator=generator)[:, 0]].int()
    if noise:
        images += torch.randint(-noise, noise + 1, images.shape, generator=generator)
    return images.clamp(0, 255).to(torch.uint8)[part]


def run(cache: Path, protocol: Protocol = SMALL, images: Tensor = IMAGES, **options: Any) -> dict[str, Any]:
    generate = options.pop("generate", resample)
    settings: dict[str, Any] = {"classes": 10, "fingerprint": "f00d", "cache_dir": cache} | options
    return score(generate, images, LABELS, protocol, **settings)


@pytest.fixture
def reference_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Gains an entry whenever the extractor, rather than the cache, provides the reals' features."""
    calls: list[int] = []
    original = evaluation._compute_reference

    def counted(*arguments: Any) -> Any:
        calls.append(1)
        return original(*arguments)

    monkeypatch.setattr(evaluation, "_compute_reference", counted)
    return calls


def test_reals_against_themselves_score_zero_and_full_marks(tmp_path: Path) -> None:
    order = torch.cat([(label == LABELS).nonzero()[:170, 0] for label in range(10)]).reshape(10, 170).T.flatten()
    images, labels = IMAGES[order], LABELS[order]
    record = score(
        lambda number, asked, seed, part: images[part],
        images,
        labels,
        replace(SMALL, num_fake=len(images)),
        classes=10,
        fingerprint="f00d",
        cache_dir=tmp_path,
    )
    assert record["FD-digits"] == pytest.approx(0, abs=1e-8)
    assert record["class_agreement"] >= 0.98
    assert record["diversity"] == pytest.approx(1, abs=1e-9)


def test_distance_grows_with_noise(tmp_path: Path) -> None:
    distances = [
        run(tmp_path, generate=lambda n, y, seed, part, noise=noise: resample(n, y, seed, part, noise))["FD-digits"]
        for noise in (0, 60, 120, 200)
    ]
    assert distances == sorted(distances)
    assert distances[-1] > 5 * distances[0]


def test_record_holds_the_whole_protocol_and_is_json(tmp_path: Path) -> None:
    record = json.loads(json.dumps(run(tmp_path, replace(SMALL, truncation=0.5, num_real=400, seed=3))))
    protocol = record.pop("protocol")
    assert record.keys() == {"FD-digits", "class_agreement", "diversity"}
    known = {"name": "digits", "extractor": "digits", "num_fake": 300, "num_real": 400, "split": "train"}
    known |= {"weights": "ema", "batch_norm": "running", "truncation": 0.5, "resize": "none", "seed": 3}
    assert known.items() <= protocol.items()
    assert protocol["data_fingerprint"] == "f00d"
    assert len(protocol["extractor_sha256"]) == len(protocol["reals_sha256"]) == 64
    assert {"steadygan", "torch", "classes"} <= protocol.keys()


def test_the_generator_is_asked_for_balanced_labels_or_for_none(tmp_path: Path) -> None:
    asked = []

    def generate(number: int, labels: Tensor | None, seed: int, part: slice) -> Tensor:
        asked.append(labels)
        return resample(number, labels, seed, part)

    conditional = run(tmp_path, generate=generate)
    unconditional = run(tmp_path, generate=generate, classes=0)
    assert asked[0].bincount().tolist() == [30] * 10
    assert asked[1] is None
    assert "class_agreement" in conditional
    assert unconditional.keys() == {"FD-digits", "protocol"}


def test_stacked_digits_are_read_channel_by_channel(tmp_path: Path) -> None:
    reals, modes = (torch.from_numpy(array) for array in stacked_digits(count=600, seed=0))
    protocol = replace(PROTOCOLS["stacked-digits"], num_fake=500)

    def collapsed(number: int, labels: Tensor | None, seed: int, part: slice) -> Tensor:
        return reals[:1].repeat(part.stop - part.start, 1, 1, 1)

    common: dict[str, Any] = {"classes": 0, "fingerprint": "f00d", "cache_dir": tmp_path}
    good = score(lambda n, y, seed, part: reals[part], reals, modes, protocol, **common)
    bad = score(collapsed, reals, modes, protocol, **common)
    assert good.keys() == {"FD-digits", "modes", "kl", "protocol"}
    assert bad["modes"] == 1
    assert good["modes"] > 300
    assert good["kl"] < bad["kl"]
    assert good["FD-digits"] < bad["FD-digits"] / 5


def test_other_sizes_are_scored_only_when_resizing_is_part_of_the_protocol(tmp_path: Path) -> None:
    images = torch.from_numpy(digits(16)[0])
    with pytest.raises(UserError, match="32, 32"):
        run(tmp_path, images=images)
    resized = replace(choose_protocol("digits", 1, 16), num_fake=300)
    record = run(
        tmp_path, resized, images, generate=lambda n, y, seed, part: resample(n, y, seed, part)[:, :, ::2, ::2]
    )
    assert record["protocol"]["resize"] == "bicubic"
    assert record["class_agreement"] > 0.9


def test_reference_statistics_are_computed_once(tmp_path: Path, reference_calls: list[int]) -> None:
    first, second = run(tmp_path), run(tmp_path)
    assert len(reference_calls) == 1
    assert first == second
    assert [path.suffix for path in tmp_path.iterdir()] == [".safetensors"]


def test_one_changed_pixel_or_another_protocol_is_a_cache_miss(tmp_path: Path, reference_calls: list[int]) -> None:
    images = IMAGES.clone()
    images[5, 0, 3, 3] ^= 1
    run(tmp_path)
    run(tmp_path, images=images)
    assert len(reference_calls) == 2
    run(tmp_path, replace(SMALL, num_real=900))
    assert len(reference_calls) == 3
    run(tmp_path, replace(SMALL, seed=1))
    assert len(reference_calls) == 3


@pytest.mark.parametrize("damage", ["cut", "flipped", "rubbish"])
def test_a_damaged_cache_file_is_recomputed(tmp_path: Path, reference_calls: list[int], damage: str) -> None:
    first = run(tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    flipped = whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]
    path.write_bytes({"cut": whole[:-100], "flipped": flipped, "rubbish": b"rubbish"}[damage])
    assert run(tmp_path) == first
    assert len(reference_calls) == 2
    assert path.read_bytes() == whole


def test_cache_folder_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "cache"))
    run(tmp_path, cache_dir=None)
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_the_cache_has_the_permissions_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        run(tmp_path)
    finally:
        os.umask(before)
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_a_cache_that_cannot_be_written_warns_and_scores(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(UserWarning, match="STEADYGAN_CACHE"):
        assert run(tmp_path / "file")["class_agreement"] > 0.9


def test_diversity_is_left_out_where_a_class_has_a_single_real(tmp_path: Path) -> None:
    few = torch.cat([(label == LABELS).nonzero()[: 1 if label == 4 else 5, 0] for label in range(10)])
    options: dict[str, Any] = {"classes": 10, "fingerprint": "f00d", "cache_dir": tmp_path}
    record = score(resample, IMAGES[few], LABELS[few], SMALL, **options)
    assert record.keys() == {"FD-digits", "class_agreement", "protocol"}


def test_data_without_a_protocol_of_its_own_is_scored_by_the_small_extractor() -> None:
    for name, channels in (("photos", 3), ("photos", 1), ("digits", 3), ("stacked-digits", 1)):
        assert choose_protocol(name, channels, 64) == PROTOCOLS["tiny"]


def test_at_most_so_many_reals_are_all_of_a_small_set_and_a_draw_of_a_large_one(tmp_path: Path) -> None:
    small = replace(PROTOCOLS["tiny"], num_fake=20, num_real=30)
    options: dict[str, Any] = {"classes": 0, "fingerprint": "f00d", "cache_dir": tmp_path}
    for count, taken in ((25, 25), (40, 30)):
        record = score(resample, IMAGES[:count], None, small, **options)
        assert record["protocol"]["num_real"] == taken
        assert "at_most" not in record["protocol"]
        assert record["FD-tiny"] > 0
        assert 0 <= record["coverage"] <= 1
    with pytest.raises(UserError, match="needs 30 real images"):
        score(resample, IMAGES[:25], None, replace(small, at_most=False), **options)
    with pytest.raises(UserError, match="needs 2 real images"):
        score(resample, IMAGES[:1], None, small, **options)


def test_impossible_protocols_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="possible: train, heldout, all, test"):
        replace(SMALL, split="tests")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="num_fake is 1"):
        replace(SMALL, num_fake=1)
    with pytest.raises(UserError, match="has 1797"):
        run(tmp_path, replace(SMALL, num_real=5000))
    with pytest.raises(UserError, match="10 classes, not 7"):
        run(tmp_path, classes=7)


def test_extractors_share_one_interface() -> None:
    assert all(issubclass(kind, Extractor) and kind.name == name for name, kind in EXTRACTORS.items())
