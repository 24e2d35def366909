"""Names on pictures."""

from __future__ import annotations

import pytest
import torch
from PIL import ImageFont

from steadygan.pictures import lettering
from steadygan.pictures.grid import draw
from steadygan.pictures.lettering import legible

COMBINED = "Ba\u0308ume"
"""Bäume with a combining mark, as a Mac writes it."""


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without fonts."""
    monkeypatch.setattr(lettering, "FILES", ())
    monkeypatch.setattr(lettering, "_of_matplotlib", lambda: ())


def test_plain_names_are_in_pillows_font_on_every_machine() -> None:
    names, font = legible(["cat", "class 3"], 11)
    assert names == ["cat", "class 3"]
    assert bytes(font.getmask("cat 3")) == bytes(ImageFont.load_default(11).getmask("cat 3"))


def test_letters_that_pillows_font_lacks_come_from_another() -> None:
    pytest.importorskip("matplotlib")
    names, font = legible([COMBINED, "Straße", "дом"], 11)
    assert names == ["Bäume", "Straße", "дом"]
    missing = bytes(font.getmask(lettering.ABSENT))
    assert all(bytes(font.getmask(letter)) != missing for letter in "äßдом")


@pytest.mark.usefixtures("bare")
def test_without_another_font_letters_are_written_plainly() -> None:
    assert legible([COMBINED, "Straße", "École", "дом", "🌳\ufe0f"], 11)[0] == ["Baume", "Strasse", "Ecole", "???", "?"]


def test_a_sheet_s_names_are_the_same_for_both_ways_to_write_them() -> None:
    images = torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
    assert draw(images, 2, [COMBINED]).tobytes() == draw(images, 2, ["Bäume"]).tobytes()
