"""Trains small runs that each fail in a different way, and keeps their records for tests/diagnosis.

    python benchmarks/provoked_runs.py --work /tmp/provoked            # all; some minutes of one CPU core
    python benchmarks/provoked_runs.py --work /tmp/provoked leaks

Each is a preset of the embedded digits with overrides that provoke the failure. Kept are config.yaml, metrics.jsonl and
scores.jsonl; the leak's run is measured by the leak meter first.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch

from steadygan import train
from steadygan.evaluation.health import Health

KEPT = Path(__file__).parents[1] / "tests" / "diagnosis" / "runs"
COMMON = ["train.device=cpu", "train.collapse=continue", "eval.num_fake=300", "data.path=digits"]

RUNS = {
    # An eighth of the published width, consistency at work, five hundred steps.
    "fine": "digits-icr model.width=8 train.steps=500 train.log_every=10 eval.every=125",
    # Fifty images and nothing that regularises D.
    "memorises": "digits-none data.max_images=50 train.steps=500 train.log_every=20 eval.every=250",
    # Eight steps of G for one of D: G settles on what D likes at the moment.
    "modes": "digits-none model.conditional=false train.phases=[D,G,G,G,G,G,G,G,G] optim.g.lr=2e-3 model.width=8 "
    "train.steps=250 train.log_every=10 eval.every=50",
    # Learning rates of one billionth.
    "asleep": "digits-icr optim.g.lr=1e-9 optim.d.lr=1e-9 train.steps=400 train.log_every=20 eval.every=200",
    # A G of width 4 at the rates that suit width 64: D leaves it behind.
    "won": "digits-icr model.width=4 optim.g.lr=2e-4 optim.d.lr=2e-4 train.steps=150 train.log_every=10 eval.every=50",
    # Consistency a hundred times as strong as the paper's: G gets next to no gradient.
    "crushed": "digits-icr model.width=8 optim.g.lr=1e-4 optim.d.lr=1e-4 objective.terms.bcr.real=1000 "
    "objective.terms.bcr.fake=1000 objective.terms.zcr.dis=500 train.steps=260 train.log_every=20 eval.every=130",
    # Learning rates of 0.1 without spectral norm.
    "diverges": "digits-none optim.g.lr=0.1 optim.d.lr=0.1 model.critic.sn_critic=false model.width=8 train.steps=200 "
    "train.log_every=20 eval.every=100",
    # A rate of 0.02 for G: good after 200 steps, twice as bad after 400.
    "turns": "digits-none optim.g.lr=0.02 model.width=8 train.steps=600 train.log_every=20 eval.every=200",
    # Each layer of D passes on a fifth: behind seven of them its logits hardly differ from image to image.
    "blind": "digits-none model.critic.sn_gain=0.2 model.width=8 optim.d.lr=1e-4 train.steps=400 train.log_every=10 "
    "eval.every=200",
    # DiffAugment of the reals alone: its ablation, which the paper shows to leak.
    "leaks": "digits-none augment.diffaugment.policy=[cutout] augment.diffaugment.placement=reals-only train.steps=500 "
    "train.log_every=10 eval.every=250",
}
"""The preset and what is changed in it, by the name of the fixture."""


def keep(run: Path, name: str) -> None:
    kept = KEPT / name
    kept.mkdir(parents=True, exist_ok=True)
    for file in ("config.yaml", "metrics.jsonl", "scores.jsonl"):
        shutil.copy(run / file, kept / file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="which  [default: all]")
    parser.add_argument("--work", type=Path, required=True, help="where the runs themselves go")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.names or RUNS:
        preset, *overrides = RUNS[name].split()
        run = options.work / name
        if not run.exists():
            train(preset, [*COMMON, *overrides], out=run)
        if name == "leaks":
            with (run / "scores.jsonl").open("a") as file:
                file.write(json.dumps(Health.of(run).record()) + "\n")
        keep(run, name)
        print(name, "→", KEPT / name)


if __name__ == "__main__":
    main()
