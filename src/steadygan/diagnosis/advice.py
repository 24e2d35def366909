"""Settings to change, by the problem of the run."""

from __future__ import annotations

from typing import Any

from steadygan.diagnosis.records import Records
from steadygan.diagnosis.verdict import Advice


def _get(records: Records, key: str, default: Any) -> Any:
    value = records.config.get(key, default)
    return default if value is None else value


def calmer(records: Records) -> tuple[Advice, ...]:
    """Against divergence: smaller steps, and a bounded gradient of D."""
    advice = []
    rates = {player: float(_get(records, f"optim.{player}.lr", 2e-4)) for player in ("d", "g")}
    for player, rate in sorted(rates.items(), key=lambda pair: -pair[1]):
        lower = 2e-4 if rate > 1e-3 else rate / 4
        advice.append(Advice(f"optim.{player}.lr", lower, f"it is {rate:g}: smaller steps"))
    if records.config.get("model.critic.sn_critic") is False:
        advice.append(Advice("model.critic.sn_critic", True, "nothing bounds D's gradient without spectral norm"))
    elif not records.term("r1") and not records.term("gp"):
        advice.append(Advice("objective.terms.r1.weight", 10, "R1 bounds D's gradient at the reals"))
    return tuple(advice)


def weaker_critic(records: Records) -> tuple[Advice, ...]:
    """Against a D that has won."""
    rate = float(_get(records, "optim.d.lr", 2e-4))
    advice = [Advice("optim.d.lr", rate / 4, f"it is {rate:g}: D learns too fast for G")]
    if not records.term("bcr") and not records.term("cr"):
        advice.append(Advice("objective.terms.bcr.real", 10, "consistency regularisation keeps D's gradient small"))
    return (*advice, *_augmented(records))


def more_images(records: Records) -> tuple[Advice, ...]:
    """Against memorisation by D."""
    advice = list(_augmented(records))
    if not records.term("bcr"):
        advice.append(Advice("objective.terms.bcr.real", 10, "D must score an image and its augmentation alike"))
    if not records.term("lecam"):
        advice.append(Advice("objective.terms.lecam.weight", 0.1, "keeps D's predictions near their averages"))
    if not advice:
        steps = int(_get(records, "train.steps", 100_000))
        advice.append(Advice("train.steps", max(1, steps // 2), "every regulariser is in use: stop earlier"))
    return tuple(advice)


def _augmented(records: Records) -> tuple[Advice, ...]:
    if records.config.get("augment.diffaugment.policy"):
        return ()
    colour = [] if records.config.get("data.channels") == 1 else ["color"]
    why = "D sees every image in many variants, reals and fakes alike"
    return (Advice("augment.diffaugment.policy", [*colour, "translation", "cutout"], why),)


def more_modes(records: Records) -> tuple[Advice, ...]:
    """Against mode collapse."""
    advice = []
    rates = {player: float(_get(records, f"optim.{player}.lr", 2e-4)) for player in ("d", "g")}
    if records.term("zcr") and float(_get(records, "objective.terms.zcr.gen", 0.5)) == 0:
        advice.append(Advice("objective.terms.zcr.gen", 0.5, "without it, D's term lets G ignore its latent"))
    elif rates["g"] > rates["d"] or rates["g"] > 5e-4:
        lower = min(rates["d"], rates["g"] / 4)
        advice.append(
            Advice("optim.g.lr", lower, f"it is {rates['g']:g}: G is faster than D and collapses to what D accepts")
        )
    if not records.term("zcr"):
        advice.append(Advice("objective.terms.zcr.gen", 0.5, "rewards images that differ when their latents do"))
    phases = records.config.get("train.phases") or ["D", "G"]
    if list(phases).count("D") < 2:
        advice.append(Advice("train.phases", ["D", "D", "G"], "a stronger D notices repeated images"))
    return tuple(advice)


def livelier(records: Records) -> tuple[Advice, ...]:
    """Against a D that stays at chance."""
    advice = []
    rates = {player: float(_get(records, f"optim.{player}.lr", 2e-4)) for player in ("d", "g")}
    for player, rate in rates.items():
        if rate < 5e-5:
            advice.append(Advice(f"optim.{player}.lr", 2e-4, f"it is {rate:g}: too small a step"))
    width = int(_get(records, "model.width", 64))
    if width < 32:
        advice.append(
            Advice("model.width", 64, f"it is {width}: a narrow D with spectral norm has too small a gradient")
        )
    if str(_get(records, "model.kind", "dcgan")) == "dcgan":
        advice.append(Advice("model.kind", "resnet", "residual discriminators learn where narrow plain ones do not"))
    return (*advice, *_weaker_consistency(records))


def sealed(records: Records, name: str) -> tuple[Advice, ...]:
    """Against a leaking augmentation."""
    if records.config.get("augment.diffaugment.placement", "both") != "both":
        return (Advice("augment.diffaugment.placement", "both", "G learns the augmentation that only reals get"),)
    advice = []
    policy = list(records.config.get("augment.diffaugment.policy") or [])
    if name in policy:
        rest = [other for other in policy if other != name]
        advice.append(Advice("augment.diffaugment.policy", rest, f"without {name}"))
    if records.term("cr"):
        advice.append(Advice("objective.terms.cr", None, "CR asks D to accept augmented reals as reals"))
        advice.append(Advice("objective.terms.bcr.real", 10, "bCR instead regularises fakes as well"))
    if name in ("flip", "shift", "cutout") and name not in policy:
        advice.append(Advice(f"augment.consistency.{name}", 0, f"without {name}"))
    return tuple(advice)


def sight(records: Records, *, label: bool) -> tuple[Advice, ...]:
    """Against a D that ignores the image. label: it uses the label instead."""
    advice = []
    if label and _get(records, "model.fake_labels", "uniform") != "data":
        advice.append(Advice("model.fake_labels", "data", "the labels then no longer reveal the fakes"))
    kind = str(_get(records, "model.kind", "dcgan"))
    if kind in ("dcgan", "resnet"):
        gain = float(_get(records, "model.critic.sn_gain", 1))
        advice.append(Advice("model.critic.sn_gain", 2 * gain, f"it is {gain:g}: D's gradient is too small"))
    if kind == "dcgan":
        advice.append(Advice("model.kind", "resnet", "residual discriminators preserve the image"))
    return (*advice, *_weaker_consistency(records))


def _weaker_consistency(records: Records) -> tuple[Advice, ...]:
    keys = [f"objective.terms.{term}" for term in ("bcr.real", "bcr.fake", "cr.weight")]
    weights = [(key, records.config.get(key)) for key in keys if records.term(key.split(".")[2])]
    why = "early on it holds D flat"
    return tuple(Advice(key, now / 10, why) for key, now in weights if isinstance(now, int | float) and now > 0)
