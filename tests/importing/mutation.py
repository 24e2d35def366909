"""Random changes to the bytes of files."""

from __future__ import annotations

import random


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Some bytes flipped, cut out, doubled or put elsewhere; most of them in the pickles, not in the numbers."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 3, 10))):
        anchors = [place for place in (changed.find(b"cdnnlib"), changed.find(b"torch"), 0) if place >= 0]
        place = min(len(changed) - 1, max(0, rng.choice([*anchors, rng.randrange(len(changed))]) + rng.randrange(400)))
        kind = rng.randrange(5)
        if kind == 0:
            changed[place] = rng.randrange(256)
        elif kind == 1:
            changed[place] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del changed[place : place + rng.randrange(1, 40)]
        elif kind == 3:
            changed[place:place] = changed[place : place + rng.randrange(1, 40)]
        else:
            changed[place:place] = bytes(
                rng.choice(b"cRbQ(t.u\x81\x93\x8e\x96\x94") for _ in range(rng.randrange(1, 5))
            )
    return bytes(changed) or b"."
