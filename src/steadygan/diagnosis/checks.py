"""Checks of a run, each a function of its records; they are tried in order of priority."""

from __future__ import annotations

import math
from collections.abc import Callable

from steadygan.diagnosis.advice import calmer, livelier, more_images, more_modes, sealed, sight, weaker_critic
from steadygan.diagnosis.looking import blind_lately, not_looking
from steadygan.diagnosis.records import Records, since
from steadygan.diagnosis.verdict import Verdict

Check = Callable[[Records], Verdict | None]

EXPLODED = 20.0
"""A loss this many times its value at chance is divergence, not fluctuation."""
SKIPPED = 0.1
"""Maximum fraction of steps with a non-finite gradient."""
SATURATED = 0.02
"""Below this fraction of its loss at chance, D has won."""
WORSE = 2.0
"""A score this many times its best, twice in a row, counts as getting worse."""
GAP = 0.25
"""D memorises if the fraction of images classified as real is this much higher for training than held-out images."""
COPIES = 0.05
LEAK = 0.05
ALIKE, LOST = 0.3, 0.5
"""Below this fraction of the reals' diversity, or of their own maximum, samples lack diversity."""
LINES_AHEAD = 3
"""Minimum number of lines with D's loss well below its value at chance, to conclude that D separated fakes from
reals."""
FEW = 2
"""Maximum number of scores that are too few for a trend; so are scores that began in a run's second half."""
CHANCE = 0.06
"""D is at chance if its loss is within this fraction of its value at chance."""
YOUNG, UNTAUGHT = 100, 200
"""Steps before which an imbalance of the players, or a G that has learnt nothing, is normal: recorded healthy runs need
up to half of these, at any logging interval. Before the latter no run is called fine: recorded ones that went wrong
(`turns`, `leaks`) looked balanced from step 100 on."""
IMPROVED = 0.8
"""A score has improved if it is below this fraction of the first one."""


def diverging(records: Records) -> Verdict | None:
    """Divergence: losses that are not finite, explode or did, a D that has won."""
    return _not_finite(records) or _exploding(records) or _exploded(records) or _won(records)


def _not_finite(records: Records) -> Verdict | None:
    lines = records.lines
    last = lines[-1]
    skipped = (last.get("skipped") or 0) / max(1, last["step"])
    rollbacks = [row for row in records.events if row["event"] == "rollback" and "finite" in str(row.get("reason"))]
    broken = [name for name, value in last.items() if value is None and "/" in name]
    if not broken and not rollbacks and skipped < SKIPPED:
        return None
    lost = f"{broken[0]} is no longer finite" if broken else "gradients are no longer finite"
    first = next((row["step"] for row in lines if row.get("skipped") or any(v is None for v in row.values())), None)
    return Verdict(
        "diverging",
        f"Training diverges: {lost}; {skipped:.0%} of the steps were skipped and {len(rollbacks)} were rolled back.",
        {"skipped": last.get("skipped") or 0, "rollbacks": len(rollbacks)},
        first,
        calmer(records),
    )


def _exploding(records: Records) -> Verdict | None:
    level, values = records.undecided, records.series("D/adversarial")
    paid = records.tail("D/adversarial")
    if level is None or paid is None or paid <= EXPLODED * level:
        return None
    return Verdict(
        "diverging",
        f"Training diverges: D's loss is {paid:.3g}; at chance it is {level:.3g}.",
        {"D/adversarial": paid},
        since(values, lambda value: value > EXPLODED * level),
        calmer(records),
    )


def _exploded(records: Records) -> Verdict | None:
    """A loss that exploded and fell back to chance, as D and G no longer depend on their inputs."""
    level, spread = records.undecided, records.tail("G_diversity")
    losses = [(step, value) for step, value in records.series("D/adversarial") if not math.isnan(value)]
    if level is None or spread is None or not losses or not spread < ALIKE or not at_chance(records):
        return None
    at, peak = max(losses, key=lambda pair: pair[1])
    if peak <= EXPLODED * level:
        return None
    return Verdict(
        "diverging",
        f"Training has diverged: D's loss was {peak:.3g} at step {at} ({level:.3g} at chance); now it is at chance, "
        f"and G's images are alike (their diversity is {spread:.0%} of the reals').",
        {"D/adversarial_most": peak, "G_diversity": spread},
        at,
        calmer(records),
    )


def _won(records: Records) -> Verdict | None:
    if records.step < YOUNG:
        return None
    level, paid = records.undecided, records.tail("D/adversarial")
    real, fake = records.tail("D_accuracy_train"), records.tail("D_accuracy_fake")
    if level is None or paid is None or real is None or fake is None:
        return None
    if not (min(real, fake) >= 0.995 and paid < SATURATED * level):
        return None
    return Verdict(
        "diverging",
        f"D has won: it separates all reals from all fakes (loss {paid:.2g}); G gets no usable gradient.",
        {"D/adversarial": paid, "D_accuracy_train": real, "D_accuracy_fake": fake},
        since(records.series("D/adversarial"), lambda value: value < SATURATED * level),
        weaker_critic(records),
    )


def turned(records: Records) -> Verdict | None:
    """Scores that were good and have become much worse since."""
    scores = [(step, value) for step, value in records.headline() if not math.isnan(value)]
    if len(scores) < 3:
        return None
    at, best = min(scores, key=lambda pair: pair[1])
    if min(value for _, value in scores[-2:]) <= WORSE * best:
        return None
    return Verdict(
        "diverging",
        f"The score is getting worse: {scores[-1][1]:.4g} now, {best:.4g} at step {at}; the best checkpoint is kept.",
        {"best": best, "last": scores[-1][1]},
        at,
        calmer(records),
    )


def leaks(records: Records) -> Verdict | None:
    """Leaking augmentations, from the newest health score."""
    measured = next((row for row in reversed(records.scores) if any(key.startswith("leak_") for key in row)), None)
    if measured is None:
        return None
    lows = {k[5:-4]: v for k, v in measured.items() if k.startswith("leak_") and k.endswith("_low") and v > LEAK}
    if not lows:
        return None
    name = max(lows, key=lambda key: float(lows[key]))
    share, low, high = (float(measured[f"leak_{name}{end}"]) for end in ("", "_low", "_high"))
    return Verdict(
        "augmentations leak",
        f"Augmentations leak: {share:.0%} of the generated images ({low:.0%} to {high:.0%}) show the {name} that only "
        "D's inputs should have.",
        {f"leak_{name}": share, f"leak_{name}_low": low, f"leak_{name}_high": high},
        measured["step"],
        sealed(records, name),
    )


def memorises(records: Records) -> Verdict | None:
    """Memorisation: D memorises its training images, or G copies them."""
    copied = next((row for row in reversed(records.scores) if "copies_low" in row), None)
    if copied is not None and copied["copies_low"] > COPIES:
        return Verdict(
            "memorises",
            f"G copies training images: {copied['copies']:.0%} of its images are nearer to one than all but 1 % of "
            "the reals are to each other.",
            {name: float(copied[name]) for name in ("copies", "copies_low", "copies_high")},
            copied["step"],
            more_images(records),
        )
    train, held_out = records.tail("D_accuracy_train"), records.tail("D_accuracy_heldout")
    if train is None or held_out is None or train - held_out < GAP or records.step < YOUNG:
        return None
    gaps = [
        (step, seen - unseen)
        for (step, seen), (_, unseen) in zip(
            records.series("D_accuracy_train"), records.series("D_accuracy_heldout"), strict=True
        )
    ]
    return Verdict(
        "memorises",
        f"D memorises its images: it classifies {train:.0%} of its training images as real, and {held_out:.0%} of "
        "images it has never seen.",
        {"D_accuracy_train": train, "D_accuracy_heldout": held_out},
        since(gaps, lambda gap: gap > GAP / 2),
        more_images(records),
    )


def ignores_images(records: Records) -> Verdict | None:
    """A D that ignores the image, or uses the label instead; see `looking`."""
    found = not_looking(records.rows)
    if found is None:
        return None
    last = records.lines[-1]
    names = ("D_auc_fake", "D_spread_within", "D_spread_between", "D_auc_noise", "D_auc_shuffled")
    numbers = {name: float(last[name]) for name in names if last.get(name) is not None}
    return Verdict("ignores images", f"{found.symptom}.", numbers, found.since, sight(records, label=found.reads_label))


def modes_are_going(records: Records) -> Verdict | None:
    """Mode collapse: images lose diversity, overall or within classes."""
    spreads = records.series("G_diversity")
    now = records.tail("G_diversity")
    if now is not None and len(spreads) >= 5 and records.step >= YOUNG:
        peak = max(value for _, value in spreads[len(spreads) // 10 :])
        # An untrained G is uniform too: only diversity that existed before can be lost.
        if peak >= ALIKE and now < max(ALIKE, LOST * min(peak, 1.0)):
            return Verdict(
                "mode collapse",
                f"Mode collapse: the diversity of G's images is {now:.0%} of the reals', {peak:.0%} at its best.",
                {"G_diversity": now, "G_diversity_best": peak},
                since(spreads, lambda value: value < max(ALIKE, LOST * min(peak, 1.0))),
                more_modes(records),
            )
    return _modes_by_score(records)


def _modes_by_score(records: Records) -> Verdict | None:
    """Mode collapse by scores: diversity within classes, stacked digits' modes, recall."""
    for name, words in (
        ("diversity", "images of one class spread {now:.2f} times as far as the reals do"),
        ("modes", "{now:.0f} modes of 1,000 are left"),
        ("recall", "{now:.2f} of the reals lie where G's images do"),
        ("coverage", "{now:.2f} of the reals have one of G's images nearby"),
    ):
        values = records.score(name)
        if len(values) < 3:
            continue
        at, best = max(values[:-1], key=lambda pair: min(pair[1], 1.0) if name == "diversity" else pair[1])
        now, best = values[-1][1], min(best, 1.0) if name == "diversity" else best
        if best > 0.1 and now < LOST * best and max(value for _, value in values[-2:]) < 0.75 * best:
            return Verdict(
                "mode collapse",
                f"Mode collapse: {words.format(now=now)}, {best:.3g} at step {at}.",
                {name: now, f"{name}_best": best},
                at,
                more_modes(records),
            )
    return None


def nothing_is_learnt(records: Records) -> Verdict | None:
    """D at chance or G's images almost identical from the start, and no score has changed."""
    scores = records.headline()
    told = f"; the score is {scores[-1][1]:.4g}, {scores[0][1]:.4g} at first" if len(scores) > 1 else ""
    if improved(scores) or records.step < UNTAUGHT:
        return None
    spreads = records.series("G_diversity")
    widest = max((value for _, value in spreads), default=0.0)
    if len(spreads) >= 5 and widest < ALIKE and (was_ahead(records) or not at_chance(records)):
        return Verdict(
            "nothing is learnt",
            f"Nothing is learnt: G's images have been nearly alike all along (their diversity is at most {widest:.0%} "
            f"of the reals'){told}.",
            {"G_diversity_best": widest},
            records.lines[0]["step"],
            livelier(records),
        )
    level, paid = records.undecided, records.tail("D/adversarial")
    if level is None or paid is None or not at_chance(records) or was_ahead(records):
        return None
    return Verdict(
        "nothing is learnt",
        f"Nothing is learnt: D's loss has been at chance all along ({paid:.3g} of {level:.3g}){told}.",
        {"D/adversarial": paid},
        records.lines[0]["step"],
        livelier(records),
    )


def fine(records: Records) -> Verdict | None:
    """A score that has improved and is near its best; without scores, balanced players; not before UNTAUGHT steps."""
    if records.step < UNTAUGHT:
        return None
    scores = [(step, value) for step, value in records.headline() if not math.isnan(value)]
    if improved(scores):
        at, best = min(scores, key=lambda pair: pair[1])
        last = scores[-1][1]
        where = "and is at its best" if last <= 1.05 * best else f"and was best at step {at} with {best:.4g}"
        return Verdict(
            "fine",
            f"The score has fallen from {scores[0][1]:.4g} to {last:.4g} {where}.",
            {"first": scores[0][1], "last": last, "best": best},
            at,
        )
    diversity, real, level = records.tail("G_diversity"), records.tail("D_accuracy_train"), records.undecided
    paid = records.tail("D/adversarial")
    if diversity is None or real is None or paid is None or level is None:
        return None
    if blind_lately(records.rows):
        return None
    late = bool(scores) and 2 * scores[0][0] > records.lines[-1]["step"]
    count = "one score" if len(scores) == 1 else f"{len(scores) or 'no'} scores"
    seen = f"As far as can be seen from {count}"
    if (late or len(scores) <= FEW) and 0.5 <= diversity <= 2 and at_chance(records) and was_ahead(records):
        told = f"; the score is {scores[-1][1]:.4g}" if scores else ""
        return Verdict(
            "fine",
            f"{seen}, D could tell fakes at first, and G has caught up: D's loss is at chance ({paid:.3g} of "
            f"{level:.3g}), the diversity of G's images is {diversity:.0%} of the reals'{told}.",
            {"D/adversarial": paid, "G_diversity": diversity},
        )
    if len(scores) < 2 and 0.5 <= diversity <= 2 and not at_chance(records) and real >= 0.55:
        return Verdict(
            "fine",
            f"{seen}: D's loss is {paid:.3g} ({level:.3g} at chance), it classifies {real:.0%} of its images "
            f"as real, and the diversity of G's images is {diversity:.0%} of the reals'.",
            {"D/adversarial": paid, "D_accuracy_train": real, "G_diversity": diversity},
        )
    return None


def improved(scores: list[tuple[int, float]]) -> bool:
    """Whether the best score is clearly better than the first."""
    return len(scores) > 1 and min(value for _, value in scores) < IMPROVED * scores[0][1]


def was_ahead(records: Records) -> bool:
    """Whether D separates fakes from reals, now or earlier."""
    level = records.undecided
    losses = [value for _, value in records.series("D/adversarial")]
    return level is not None and sum(value < level * (1 - 2 * CHANCE) for value in losses) >= LINES_AHEAD


def at_chance(records: Records) -> bool:
    """Whether D's loss is at chance."""
    level, paid = records.undecided, records.tail("D/adversarial")
    return level is not None and paid is not None and abs(paid - level) < CHANCE * level
