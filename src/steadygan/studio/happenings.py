"""Events of a run, for markers at its curves: collapses, rollbacks, resumes, changes of a learning rate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

RATES = {"optim.g.lr": "G", "optim.d.lr": "D"}


def happenings(
    events: Sequence[Mapping[str, Any]], provenance: Mapping[str, Any], config: Mapping[str, Any], last: int
) -> list[dict[str, Any]]:
    """Step, event and text of each event, by step.

    Args:
        events: the rows of metrics.jsonl with `event`.
        provenance: provenance.json, with each resume and its changes, and the source of a branch.
        config: config.yaml, whose learning rates may follow a schedule.
        last: the newest step; later changes of a schedule are omitted.
    """
    found = [{"step": row["step"], "event": str(row["event"]), "text": _told(row)} for row in events]
    source = provenance.get("branched_from")
    if isinstance(source, Mapping) and type(source.get("step")) is int:
        found.append({"step": source["step"], "event": "branch", "text": f"branched from {source.get('run', '?')}"})
    resumes = provenance.get("resumes")
    for entry in resumes if isinstance(resumes, list) else []:
        if isinstance(entry, Mapping) and type(entry.get("step")) is int:
            found += _resumed(entry)
    found += [one for one in _scheduled(config) if 0 < one["step"] <= last]
    return sorted(found, key=lambda one: one["step"])


def _told(row: Mapping[str, Any]) -> str:
    if row["event"] == "rollback":
        return f"rolled back from step {row.get('from', '?')}: {row.get('reason', '')}"
    return str(row.get("symptom", ""))


def _resumed(entry: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    changed = entry.get("changed")
    changes = {
        str(key): pair
        for key, pair in (changed.items() if isinstance(changed, Mapping) else ())
        if isinstance(pair, list) and len(pair) == 2
    }
    texts = [f"{key} from {before} to {after}" for key, (before, after) in changes.items()]
    yield {"step": entry["step"], "event": "resume", "text": "; ".join(["resumed", *texts])}
    for key, player in RATES.items():
        names = [name for name in changes if name == key or name.startswith(f"{key}.")]
        if names:
            text = "; ".join(f"{name} from {changes[name][0]} to {changes[name][1]}" for name in names)
            yield {"step": entry["step"], "event": "learning rate", "text": f"{player}: {text}"}


def _scheduled(config: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The steps at which a learning-rate schedule begins and ends."""
    optim = config.get("optim")
    if not isinstance(optim, Mapping):
        return
    if optim.get("schedule") == "linear" and type(optim.get("decay_from")) is int:
        yield {"step": optim["decay_from"], "event": "learning rate", "text": "both decay linearly to 0 from here"}
    for key in ("g", "d"):
        section = optim.get(key)
        rate = section.get("lr") if isinstance(section, Mapping) else None
        if not isinstance(rate, Mapping) or rate.get("end") is None:
            continue
        delay, steps = rate.get("delay", 0), rate.get("steps")
        if type(delay) is int and type(steps) is int:
            moved = f"{key.upper()}: from {rate.get('start')} to {rate['end']} ({rate.get('shape')})"
            yield {"step": delay, "event": "learning rate", "text": f"{moved} begins"}
            yield {"step": delay + steps, "event": "learning rate", "text": f"{moved} has ended"}
