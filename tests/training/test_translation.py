"""A translation from its description to images: one engine, exact resume, scores, refusals."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import tiny_run
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

import steadygan as library
from steadygan import build, config
from steadygan.cli import app
from steadygan.errors import UserError
from steadygan.objective.memory import History
from steadygan.tasks.choice import build_images, task_of
from steadygan.training.state import TrainState
from steadygan.training.step import run_phase, train_step

SIDE = 16
MODEL = {"kind": "translate", "width": 2, "generator": {"blocks": 1}, "critic": {"layers": 1}}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise, and its negative."""
    root, rng = tmp_path_factory.mktemp("pairs"), np.random.default_rng(0)
    for part, count in (("train", 6), ("test", 3)):
        for index in range(count):
            pixels = rng.integers(256, size=(SIDE, SIDE, 3), dtype=np.uint8)
            for domain, values in (("A", pixels), ("B", 255 - pixels)):
                folder = root / part / domain
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(values).save(folder / f"{index}.png")
    return root


def tree(pairs: Path, terms: dict[str, Any], **sections: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "data": {"path": str(pairs), "size": SIDE, "channels": 3, "domains": "paired", "jitter": 1.25, "flip": True},
        "model": MODEL,
        "objective": {"loss": "least-squares", "history": 3, "terms": terms},
        "train": {"steps": 4, "batch_size": 2, "phases": ["G", "D"], "log_every": 1, "device": "cpu"},
    }
    for name, section in sections.items():
        base[name] = {**base.get(name, {}), **section}
    base["train"] |= {"precision": "float32"}
    return base


CSGAN: dict[str, Any] = {"cycle": {}, "synthesised": {}, "identity": {}}


def make(pairs: Path, terms: dict[str, Any] = CSGAN, **sections: Any) -> TrainState:
    cfg = build.resolve(config.validate(tree(pairs, terms, **sections)))
    return build.build_state(task_of(cfg), build_images(cfg, torch.device("cpu")).train, torch.device("cpu"))


PIX2PIX: dict[str, Any] = {
    "model": {"directions": ["a2b"], "critic": {"layers": 1, "images": 2}},
    "objective": {"loss": "non-saturating", "history": 0},
}
COLOURS = {"diffaugment": {"policy": ["color", "translation", "cutout"]}}


@pytest.mark.parametrize(
    ("terms", "sections"),
    [
        (CSGAN, {}),
        ({"cycle": {}}, {"data": {"domains": "unpaired"}}),
        ({"paired": {}}, PIX2PIX),
        (CSGAN | {"bcr": {}, "r1": {}}, {"augment": COLOURS}),
        ({"paired": {}, "bcr": {}, "lecam": {"start": 0}, "gp": {}}, PIX2PIX | {"augment": COLOURS}),
        (CSGAN, {"objective": {"loss": "hinge", "history": 3}}),
        (CSGAN, {"model": {"critic": {"layers": 1, "norm": "batch"}, "generator": {"blocks": 1, "norm": "batch"}}}),
    ],
    ids=["csgan", "cyclegan", "pix2pix", "csgan+bcr+diffaugment", "pix2pix+bcr+diffaugment", "hinge", "batch norm"],
)
def test_every_kind_trains_one_player_at_a_time(pairs: Path, terms: dict[str, Any], sections: dict[str, Any]) -> None:
    state = make(pairs, terms, **sections)
    for player in state.objective.phases * 2:
        before = {name: [p.detach().clone() for p in net.parameters()] for name, net in state.nets.items()}
        values = run_phase(state, player)
        assert all(value.isfinite() for value in values.values()), values
        for name, net in state.nets.items():
            moved = any(not torch.equal(a, b) for a, b in zip(before[name], net.parameters(), strict=True))
            assert moved == (name in state.objective.players[player])
    assert int(state.skipped) == 0


def test_a_step_calls_each_network_as_often_as_it_must(pairs: Path) -> None:
    """G's phase: fakes with identities, then cycles; D's phase: fakes alone. One call of each discriminator a phase."""
    state = make(pairs)
    calls: Counter[str] = Counter()
    for name, net in state.nets.items():
        net.register_forward_hook(lambda *_, name=name: calls.update([name]))
    run_phase(state, "G")
    assert calls == {"G_ab": 2, "G_ba": 2, "D_a": 1, "D_b": 1}
    calls.clear()
    run_phase(state, "D")
    assert calls == {"G_ab": 1, "G_ba": 1, "D_a": 1, "D_b": 1}


def test_images_count_what_critics_judge_not_what_generators_are_given(pairs: Path) -> None:
    state = make(pairs)
    run_phase(state, "G")
    assert (state.images, state.loader.position) == (0, 2)
    run_phase(state, "D")
    assert (state.images, state.loader.position) == (2, 4)


@pytest.mark.parametrize("player", ["G", "D"])
def test_micro_batches_give_the_gradient_of_the_whole_batch(pairs: Path, player: str) -> None:
    gradients = []
    for accumulate in (1, 2):
        torch.manual_seed(0)
        state = make(pairs, train={"batch_size": 4, "accumulate": accumulate}, objective={"history": 8})
        run_phase(state, player)
        trained = [state.nets[name] for name in state.objective.players[player]]
        gradients.append([p.grad.clone() for net in trained for p in net.parameters() if p.grad is not None])
    for whole, parts in zip(*gradients, strict=True):
        torch.testing.assert_close(parts, whole, rtol=1e-3, atol=2e-6)


def test_the_average_follows_all_generators(pairs: Path) -> None:
    state = make(pairs, train={"ema": {"half_life": 1}})
    start = {key: value.clone() for key, value in state.weights().items()}
    run_phase(state, "G")
    after = state.weights()
    averaged = [key.removeprefix("G_ema.") for key in after if key.startswith("G_ema.") and "weight" in key]
    assert {key.split(".")[0] for key in averaged} == {"G_ab", "G_ba"}
    for key in averaged:
        torch.testing.assert_close(after[f"G_ema.{key}"], (start[key] + after[key]) / 2)


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def write(path: Path, content: dict[str, Any]) -> str:
    path.write_text(json.dumps(content))
    return str(path)


@pytest.fixture(scope="module")
def run(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never interrupted."""
    folder = tmp_path_factory.mktemp("runs")
    return library.train(write(folder / "t.yaml", tree(pairs, CSGAN)), out=folder / "run").path


def test_resuming_is_the_same_as_never_having_stopped(pairs: Path, run: Path, tmp_path: Path) -> None:
    """Histories, both domains' positions and both optimisers included: all bits of the checkpoint."""
    source = write(tmp_path / "t.yaml", tree(pairs, CSGAN))
    library.train(source, ["train.steps=2"], out=tmp_path / "run")
    library.train(tmp_path / "run", ["train.steps=4"], resume=True)
    ours, theirs = (path / "checkpoints/step-00000004" for path in (tmp_path / "run", run))
    weights, expected = (load_file(path / "weights.safetensors") for path in (ours, theirs))
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[key], expected[key]) for key in expected)
    states = [torch.load(path / "state.pt", weights_only=True) for path in (ours, theirs)]
    pools = [
        {key: value["_extra_state"]["images"] for key, value in state["memories"].items() if "Pool" in key}
        for state in states
    ]
    assert len(pools[1]) == 2
    assert all(len(images) == 3 and torch.equal(images, pools[0][key]) for key, images in pools[1].items())


def test_a_history_of_another_size_is_refused_when_resuming(pairs: Path, tmp_path: Path) -> None:
    library.train(write(tmp_path / "t.yaml", tree(pairs, CSGAN)), ["train.steps=1"], out=tmp_path / "run")
    with pytest.raises(UserError, match="does not fit this run"):
        library.train(tmp_path / "run", ["train.steps=2", "objective.history=4"], resume=True)


def test_the_run_directory_tells_terms_accuracy_and_scores_with_their_protocol(run: Path) -> None:
    row = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    for direction in ("a2b", "b2a"):
        assert {f"G/{name}_{direction}" for name in ("adversarial", *CSGAN)} | {
            f"D/adversarial_{direction}"
        } <= row.keys()
    assert {"D_accuracy_train", "D_accuracy_heldout"} <= row.keys()
    (score,) = (json.loads(line) for line in (run / "scores.jsonl").read_text().splitlines())
    assert {f"{name}_{direction}" for name in ("SSIM", "PSNR", "MSE") for direction in ("a2b", "b2a")} < score.keys()
    assert (score["protocol"]["split"], score["protocol"]["weights"]) == ("test", "ema")
    assert size_of(run / "samples/step-00000004.png") == (8 * (4 * (SIDE + 2) + 2), 8 * (2 * 3 * (SIDE + 2) + 2)), (
        "input | output | target | cycle, 3 pairs each way"
    )


def test_evaluate_scores_the_test_pairs_again_and_draws_them(run: Path) -> None:
    before = json.loads((run / "scores.jsonl").read_text().splitlines()[-1])
    record = library.evaluate(run, device="cpu")
    for name in ("SSIM_a2b", "MSE_b2a"):
        assert record[name] == pytest.approx(before[name], rel=1e-5)
    assert (run / "samples/pairs-step-00000004.png").is_file()
    assert library.evaluate(run, weights="raw", device="cpu")["protocol"]["weights"] == "raw"


def test_a_translator_needs_the_checkpoint_alone(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "step-00000004"
    (run / "checkpoints/step-00000004").rename(copy)
    try:
        translator = library.load_translator(copy, device="cpu")
        image = torch.randint(256, (3, 21, 50), dtype=torch.uint8)
        assert translator.directions == ("a2b", "b2a")
        one = translator.translate(image, "b2a")
        assert one.shape == image.shape
        assert torch.equal(translator.translate(image[None].numpy(), "b2a")[0], one)
        assert not torch.equal(translator.translate(image, "a2b"), one)
        with pytest.raises(UserError, match="a2b"):
            translator.translate(image, "a2c")
        with pytest.raises(UserError, match="3 channels"):
            translator.translate(image[:1])
    finally:
        copy.rename(run / "checkpoints/step-00000004")


def test_translate_writes_every_image_in_its_own_size(run: Path, tmp_path: Path) -> None:
    (tmp_path / "in/deep").mkdir(parents=True)
    for name, size in (("a.png", (20, 33)), ("deep/b.bmp", (70, 16))):
        Image.new("RGB", size, "red").save(tmp_path / "in" / name)
    arguments = ["translate", str(run), "--input", str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*arguments, "--direction", "b2a", "--tile", "32", "--overlap", "8"])
    assert result.exit_code == 0, result.output
    sizes = {path.relative_to(tmp_path / "out").as_posix(): size_of(path) for path in (tmp_path / "out").rglob("*.png")}
    assert sizes == {"a.png": (20, 33), "deep/b.png": (70, 16)}


def refusal(arguments: list[str]) -> str:
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, UserError)
    return str(result.exception)


def test_what_cannot_be_translated_is_refused_with_the_reason(run: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for name in ("x.png", "x.bmp"):
        Image.new("RGB", (9, 9)).save(source / name)
    command = ["translate", str(run), "--input", str(source), "--out", str(tmp_path / "out")]
    assert "differ only in their ending" in refusal(command)
    (source / "x.bmp").unlink()
    assert "a2b" in refusal([*command, "--direction", "sideways"])
    assert "is a file" in refusal([*command[:-1], str(source / "x.png")])
    Image.new("RGB", (5, 9)).save(source / "x.png")
    assert "5×9 pixels is too small" in refusal(command)


def test_bad_and_tiny_images_are_named_and_the_rest_is_made(run: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for name, size in (("a.png", (9, 9)), ("b.png", (3, 3)), ("d.png", (9, 9)), ("e.png", (9, 9)), ("f.png", (9, 9))):
        Image.new("RGB", size).save(source / name)
    (source / "c.png").write_bytes(b"?")
    command = ["translate", str(run), "--input", str(source), "--out", str(out)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "skipped: b.png: an image of 3×3 pixels is too small" in result.stderr
    assert "skipped: c.png: not an image in a known format" in result.stderr
    assert "4 images" in result.stdout
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "d.png", "e.png", "f.png"]
    assert "b.png" in refusal([*command, "--max-unreadable", "0.3"])


@pytest.mark.parametrize("place", ["", "made", "../in/made"])
def test_translate_never_writes_into_its_input(run: Path, tmp_path: Path, place: str) -> None:
    source = tmp_path / "in"
    source.mkdir()
    Image.new("RGB", (9, 9), "red").save(source / "x.png")
    before = (source / "x.png").read_bytes()
    out = str(source / place)
    assert "the input, which is not overwritten" in refusal(
        ["translate", str(run), "--input", str(source), "--out", out]
    )
    one = ["translate", str(run), "--input", str(source / "x.png"), "--out", str(source)]
    assert "the input, which is not overwritten" in refusal(one)
    assert [path.name for path in source.rglob("*")] == ["x.png"]
    assert (source / "x.png").read_bytes() == before


def test_translate_writes_neither_into_a_checkpoint_nor_into_the_training_images(
    run: Path, pairs: Path, tmp_path: Path
) -> None:
    Image.new("RGB", (9, 9), "red").save(tmp_path / "x.png")
    (checkpoint, *_) = sorted((run / "checkpoints").glob("step-*"))
    command = ["translate", str(run), "--input", str(tmp_path), "--out"]
    assert "is a checkpoint" in refusal([*command, str(checkpoint)])
    assert "is a checkpoint" in refusal([*command, str(checkpoint / "made")])
    assert "the training images" in refusal([*command, str(pairs / "train")])


def test_sampling_and_translating_refuse_each_others_runs(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="steadygan translate"):
        library.load(run)
    plain = library.train("digits", tiny_run("data.channels=3", "train.steps=1"), out=tmp_path / "digits").path
    with pytest.raises(UserError, match="steadygan sample"):
        library.load_translator(plain)


@pytest.mark.parametrize(
    ("sections", "terms", "reason"),
    [
        ({"data": {"domains": None}}, {}, "do not fit"),
        ({"model": {"kind": "dcgan"}}, {}, "do not fit"),
        ({"data": {"domains": "unpaired"}}, {"synthesised": {}}, "data.domains=paired"),
        ({"data": {"domains": "unpaired"}, "model": {"critic": {"images": 2, "layers": 1}}}, {}, "data.domains=paired"),
        ({"model": {"directions": ["a2b"]}}, {"cycle": {}}, "opposite direction"),
        ({"model": {"conditional": True}}, {}, "conditional"),
        ({"data": {"size": 4}}, {}, "at least 8"),
        ({"train": {"batch_size": 7, "phases": ["G", "D"]}}, {}, "only 6 training images"),
        ({}, {"zcr": {}}, "latent"),
    ],
)
def test_an_impossible_combination_is_refused_with_the_reason(
    pairs: Path, sections: dict[str, Any], terms: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UserError, match=reason):
        make(
            pairs, terms, **{name: {**(MODEL if name == "model" else {}), **value} for name, value in sections.items()}
        )


def test_unpaired_test_images_are_not_scored_as_pairs(pairs: Path, tmp_path: Path) -> None:
    for index, part in enumerate(("train/A", "train/B", "test/A", "test/B")):
        (tmp_path / "data" / part).mkdir(parents=True)
        for number in range(3):
            name = f"{index}{number}.png"
            (tmp_path / "data" / part / name).write_bytes((pairs / "train/A" / f"{number}.png").read_bytes())
    content = tree(tmp_path / "data", {"cycle": {}}, data={"domains": "unpaired"}, train={"steps": 1})
    path = library.train(write(tmp_path / "t.yaml", content), out=tmp_path / "run").path
    assert not (path / "scores.jsonl").exists()
    with pytest.raises(UserError, match="no test pairs"):
        library.evaluate(path, device="cpu")


def test_without_a_test_split_a_share_of_the_training_pairs_is_held_out(pairs: Path, tmp_path: Path) -> None:
    for domain in "AB":
        (tmp_path / domain).symlink_to(pairs / "train" / domain)
    cfg = config.validate(tree(tmp_path, {}, data={"heldout": 0.34}))
    images = build_images(cfg, torch.device("cpu"))
    assert images.heldout is not None
    assert (len(images.train), len(images.heldout)) == (4, 2)


def test_a_step_of_a_translation_remembers_in_the_state_alone(pairs: Path) -> None:
    state = make(pairs)
    train_step(state)
    histories = [memory for memory in state.memories.values() if isinstance(memory, History)]
    assert [int(history.count) for history in histories] == [2, 2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all(isinstance(key, str) for key in state.state_dict()["memories"])
