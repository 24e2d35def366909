"""The papers' claims tested here: the comparison, the expectation, and a refutation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Overrides = tuple[str, ...]


@dataclass(frozen=True)
class Variant:
    """One variant: a preset, its overrides, and the settings of its search."""

    preset: str
    changes: Overrides = ()
    settings: Mapping[str, Overrides] = field(default_factory=lambda: {"published": ()})


@dataclass(frozen=True)
class Claim:
    """One claim of a paper.

    Attributes:
        source: the paper and the place.
        expected: the outcome expected, written before the runs; refuted: an outcome that would refute the claim.
        variants: the rivals; each has as many settings as the others, of which a search takes the best.
        scores: recorded for each run; the search minimises the first.
        steps: of a run of the search, and of a final one; 0: there is no search.
        common: overrides of every run.
        seeds: of the final runs.
        data: the file below --data; its test images where the protocol wants them.
    """

    source: str
    expected: str
    refuted: str
    variants: Mapping[str, Variant]
    scores: tuple[str, ...]
    steps: tuple[int, int]
    common: Overrides = ()
    seeds: tuple[int, ...] = (1, 2, 3)
    data: str | None = None
    reals: str | None = None


SQUEEZENET = ("FD-squeezenet", "precision", "recall", "density", "coverage")
SMALL = (
    *("model.width=16", "train.batch_size=16", "train.phases=[D,G]", "optim.g.lr=5e-4", "optim.d.lr=5e-4"),
    *("eval.protocol=squeezenet-test", "eval.num_fake=2000", "eval.every=500"),
    *("train.log_every=50", "train.sample_every=500", "train.checkpoint_every=500", "train.keep_checkpoints=4"),
)
"""A quarter of SNGAN-ResNet's published width and batch, one D step a G step: what a CPU trains in minutes."""
SQUEEZENET_RUN = ("eval.protocol=squeezenet-test", "eval.num_fake=2000", "eval.every=0", "train.log_every=50")
HALF_WIDTH = ("model.width=32", "train.batch_size=32")

WEIGHTS = {
    "cr": "objective.terms.cr.weight={}",
    "bcr": "objective.terms.bcr={{real: {0}, fake: {0}}}",
    "zcr": "objective.terms.zcr={{dis: {1}, gen: {2}, sigma: 0.03}}",
    "gp": "objective.terms.gp.weight={}",
    "dragan": "objective.terms.dragan.weight={}",
    "jsreg": "objective.terms.jsreg.weight={}",
}


def weights(factor: float, *terms: str) -> Overrides:
    """Consistency terms at their published weights (Zhao et al., AAAI 2021, §4.1) times a factor."""
    return tuple(WEIGHTS[term].format(10 * factor, 5 * factor, 0.5 * factor) for term in terms)


def strengths(*terms: str) -> dict[str, Overrides]:
    return {"published": weights(1, *terms), "tenth": weights(0.1, *terms)}


def both_gains(settings: Mapping[str, Overrides]) -> dict[str, Overrides]:
    """Every setting with a gain of D's layers of 1 and of 2."""
    gains = {"gain1": (), "gain2": ("model.critic.sn_gain=2",)}
    return {f"{gain} {name}": (*first, *rest) for gain, first in gains.items() for name, rest in settings.items()}


DIGITS_RATES = {"1e-3": (), "5e-4": ("optim.g.lr=5e-4", "optim.d.lr=5e-4")}
RATES = {"2e-4": (), "4e-4": ("optim.g.lr=4e-4", "optim.d.lr=4e-4")}
REGULARISERS = {
    "none": (),
    "cr": ("cr",),
    "bcr": ("bcr",),
    "zcr": ("zcr",),
    "icr": ("bcr", "zcr"),
}


def icr_tables(preset: str) -> dict[str, Variant]:
    found = {
        name: Variant(f"{preset}-none", settings=both_gains(strengths(*terms) if terms else RATES))
        for name, terms in REGULARISERS.items()
    }
    for name, published in (("gp", 10), ("dragan", 10), ("jsreg", 0.1)):
        settings = {
            word: (WEIGHTS[name].format(published * factor),) for word, factor in (("published", 1), ("tenth", 0.1))
        }
        found[name] = Variant(f"{preset}-none", settings=both_gains(settings))
    return found


def icr_small(preset: str) -> dict[str, Variant]:
    """none, CR, bCR, zCR and ICR with two tries each: published weights or a tenth of them; two rates for none."""
    rates = {"5e-4": (), "2e-4": ("optim.g.lr=2e-4", "optim.d.lr=2e-4")}
    return {
        name: Variant(f"{preset}-none", settings=strengths(*terms) if terms else rates)
        for name, terms in REGULARISERS.items()
    }


LOGAN = ("objective.terms.logan={method: ngd, alpha: 0.9, beta: 0.1, fraction: 0.8, weight: 0.1}",)
POLICY = "augment.diffaugment.policy=[translation,cutout]"
AUGMENTED = {
    "none": (),
    "diffaugment": (POLICY,),
    "reals-only": (POLICY, "augment.diffaugment.placement=reals-only"),
    "d-only": (POLICY, "augment.diffaugment.placement=discriminator-only"),
}


def augmented(shares: tuple[float, ...]) -> dict[str, Variant]:
    """DiffAugment and its ablations (Zhao et al., NeurIPS 2020, Table 1) on shares of the images."""
    return {
        f"{name} {share}": Variant("cifar10-resnet-none", (*changes, f"data.fraction={share}", "data.heldout=0.1"))
        for share in shares
        for name, changes in AUGMENTED.items()
    }


OUT_OF_ORDER = "over three seeds a later one of that order is worse than an earlier one by more than one deviation"


def on_cifar10(**given: Any) -> Claim:
    """A claim on CIFAR-10 at half the published width, scored against its test images."""
    common = {"scores": SQUEEZENET, "common": (*SQUEEZENET_RUN, *HALF_WIDTH)}
    return Claim(**{**common, "data": "cifar10_train.zip", "reals": "cifar10_test.zip", **given})


DIGITS: dict[str, Any] = {
    "scores": ("FD-digits", "class_agreement", "diversity"),
    "steps": (0, 1_000),
    "common": ("eval.every=0", "train.sample_every=500"),
}
"""The embedded digits, at the length of the default run: what a minute of one core can decide."""

CLAIMS: dict[str, Claim] = {
    "digits": Claim(
        source="the default run of this program",
        expected="with weights that suit a run of 1,000 steps, ICR has a lower FD-digits than no regulariser",
        refuted="each at its best setting, ICR's mean over the final seeds is not below that of none",
        variants={
            "none": Variant("digits-none", settings=both_gains(DIGITS_RATES)),
            "cr": Variant("digits-cr", settings=both_gains(strengths("cr"))),
            "bcr": Variant("digits-bcr", settings=both_gains(strengths("bcr"))),
            "zcr": Variant("digits-zcr", settings=both_gains(strengths("zcr"))),
            "icr": Variant("digits-icr", settings=both_gains(strengths("bcr", "zcr"))),
        },
        scores=("FD-digits", "class_agreement", "diversity"),
        steps=(500, 1000),
        common=("eval.every=0", "train.sample_every=500"),
    ),
    "icr-cifar10-dcgan": on_cifar10(
        source="Zhao et al., AAAI 2021, Table 1 (SN-DCGAN, CIFAR-10)",
        expected="FD: none > CR > bCR, zCR > ICR, and gradient penalties between none and CR",
        refuted=OUT_OF_ORDER,
        variants=icr_tables("cifar10-dcgan"),
        steps=(4_000, 20_000),
    ),
    "icr-cifar10-small": on_cifar10(
        source="Zhao et al., AAAI 2021, Table 1 (SNGAN-ResNet, CIFAR-10), at a quarter of its width, 1,500 steps",
        expected="FD: none > CR > bCR, zCR > ICR by the last step, if not from the first on",
        refuted=OUT_OF_ORDER,
        variants=icr_small("cifar10-resnet"),
        steps=(500, 1_500),
        common=SMALL,
    ),
    "icr-cifar10-resnet": on_cifar10(
        source="Zhao et al., AAAI 2021, Table 1 (SNGAN-ResNet, CIFAR-10)",
        expected="FD: none > CR > bCR, zCR > ICR",
        refuted=OUT_OF_ORDER,
        variants={k: v for k, v in icr_tables("cifar10-resnet").items() if k in REGULARISERS},
        steps=(2_000, 10_000),
    ),
    "zcr-generator": on_cifar10(
        source="Zhao et al., AAAI 2021, §4.3 and Fig. 7",
        expected="zCR without the generator's term (λ_gen = 0) loses diversity; 0.5 is better than 0 and than 5",
        refuted="recall and coverage at λ_gen = 0 are not below those at 0.5 by more than one deviation",
        variants={
            f"gen={value}": Variant("cifar10-dcgan-none", (f"objective.terms.zcr={{dis: 5, gen: {value}}}",))
            for value in (0, 0.05, 0.5, 5)
        },
        steps=(0, 20_000),
    ),
    "zcr-generator-digits": Claim(
        source="Zhao et al., AAAI 2021, §4.3 and Fig. 7, on the embedded digits",
        expected="zCR without the generator's term (λ_gen = 0) loses diversity; 0.5 is better than 0 and than 5",
        refuted="diversity at λ_gen = 0 is not below that at 0.5 by more than one deviation",
        variants={
            f"gen={value}": Variant("digits-zcr", (f"objective.terms.zcr.gen={value}",)) for value in (0, 0.05, 0.5, 5)
        },
        **DIGITS,
    ),
    "diffaugment-cifar10": on_cifar10(
        source="Zhao et al., NeurIPS 2020, Fig. 1 and Table 1",
        expected="at 10 % of CIFAR-10 D tells training from held-out images without DiffAugment and hardly with it; "
        "augmenting reals alone, or D's inputs alone, is worse than nothing",
        refuted="with DiffAugment FD-squeezenet at 10 % is not lower, or either ablation is not higher than none",
        variants=augmented((1, 0.2, 0.1)),
        scores=(*SQUEEZENET, "D_accuracy_train", "D_accuracy_heldout"),
        steps=(0, 10_000),
        common=(*SQUEEZENET_RUN, *HALF_WIDTH, "train.phases=[D,D,G]"),
    ),
    "diffaugment-cifar10-small": on_cifar10(
        source="Zhao et al., NeurIPS 2020, Fig. 1 and Table 1, at a quarter of the width, 1,500 steps, 450 images",
        expected="D's accuracy is higher on training than on held-out images, less so with DiffAugment, whose FD is "
        "the lowest; augmenting reals alone is worse than nothing",
        refuted="FD with DiffAugment is not below none, or reals-only is not above it, by one deviation",
        variants=augmented((0.01,)),
        scores=(*SQUEEZENET, "D_accuracy_train", "D_accuracy_heldout"),
        steps=(0, 1_500),
        common=SMALL,
    ),
    "logan": on_cifar10(
        source="Wu et al., 2019, Table 1, at equal compute: its base runs twice as many steps",
        expected="NGD has a lower FD than its base at the same number of steps; at equal compute this is open",
        refuted="NGD is not below its base trained for twice as many steps",
        variants={
            "base": Variant("cifar10-logan", ("objective.terms.logan=null", "train.steps=20000")),
            "ngd": Variant("cifar10-logan"),
        },
        steps=(0, 10_000),
    ),
    "logan-digits": Claim(
        source="Wu et al., 2019, Table 1, on the embedded digits, one D step a G step",
        expected="NGD has a lower FD than its base at the same number of steps; at equal compute this is open",
        refuted="NGD is not below its base at the same number of steps",
        variants={
            "base": Variant("digits-none", ("model.prior=uniform",)),
            "base, twice the steps": Variant(
                "digits-none", ("model.prior=uniform", "train.steps=2000", "optim.decay_from=1000")
            ),
            "ngd": Variant("digits-none", ("model.prior=uniform", *LOGAN)),
        },
        **DIGITS,
    ),
    "few-digits": Claim(
        source="Tseng et al., CVPR 2021, Table 1; Karras et al., NeurIPS 2020, Fig. 7, on 180 of the embedded digits",
        expected="LeCam, DiffAugment and ADA each have a lower FD than no method",
        refuted="over three seeds one of them is not below none",
        variants={
            name: Variant("digits-none", ("data.fraction=0.1", "eval.reals=digits", *changes))
            for name, changes in {
                "none": (),
                "diffaugment": (POLICY,),
                "lecam": ("objective.terms.lecam={start: 200}",),
                "ada": ("augment.ada={}",),
            }.items()
        },
        **DIGITS,
    ),
    "few-cifar10": on_cifar10(
        source="Tseng et al., CVPR 2021, Table 1; Karras et al., NeurIPS 2020, Fig. 7",
        expected="at 10 % of CIFAR-10 LeCam, DiffAugment and ADA each have a lower FD than BigGAN alone",
        refuted="over three seeds one of them is not below BigGAN alone",
        variants={
            "none": Variant("cifar10-biggan-10pct"),
            "diffaugment": Variant("cifar10-biggan-diffaugment10"),
            "lecam": Variant("cifar10-biggan-lecam10"),
            "ada": Variant("cifar10-biggan-10pct", ("augment.ada={}",)),
        },
        steps=(0, 10_000),
    ),
    "unet-cutmix": Claim(
        source="Schönfeld et al., CVPR 2020, Table 3",
        expected="U-Net GAN with CutMix consistency has a lower FD than without, and both than BigGAN's D",
        refuted="over three seeds CutMix does not lower the mean",
        variants={
            "cutmix": Variant("celeba128-unet"),
            "without": Variant("celeba128-unet", ("objective.terms.cutmix=null",)),
        },
        scores=SQUEEZENET,
        steps=(0, 10_000),
        common=(*SQUEEZENET_RUN, "data.size=64", "model.width=16", "train.batch_size=16"),
        data="celeba10k.zip",
        reals="celeba10k.zip",
    ),
}
"""Figure 5 of the ICR paper is benchmarks/leak.py's; CSGAN against CycleGAN and pix2pix is benchmarks/cufs.py's."""
