"""Advice on the user's images before training."""

from __future__ import annotations

from steadygan import config as configuration
from steadygan import errors
from steadygan.recipes.look import Look, leaving_out, too_few

FEW, VERY_FEW = 2000, 500
TINY_SIDE = 32


def advice(look: Look) -> list[str]:
    """Possible improvements of the images; empty if there are none."""
    said, different = [], look.distinct
    images = f"{different:,}{' different' * (look.duplicates > 0)} images"
    if (reason := too_few(look)) is not None:
        said.append(reason)
    elif different < VERY_FEW:
        said.append(f"{images} are few: expect copies of them; a few thousand are better")
    elif different < FEW:
        said.append(f"{images} are enough with augmentation; more are better")
    if look.layout == "nested folders":
        said.append(
            "folders are not used as classes, as not every image lies exactly one folder deep; for classes, make one "
            "folder for each, with all of its images directly in it"
        )
    if look.moving:
        said.append(f"files with several images (pages, frames): {look.moving:,}; the first image of each is used")
    if look.unreadable:
        how = leaving_out(look)
        told = f" with {how}; 1% of them or more end a training otherwise" if how else ""
        said.append(f"unreadable images are left out ({len(look.unreadable):,}){told}")
    if look.duplicates > look.looked_at / 100:
        said.append(f"{look.duplicates:,} of {look.looked_at:,} repeat an earlier image: keep one of each")
    if 0 < look.side < TINY_SIDE:
        said.append(f"half of the images are smaller than {TINY_SIDE} px and are enlarged")
    if look.alpha:
        said.append(f"{look.alpha:.0%} are transparent in part: they are laid on white")
    if look.classes:
        few = [name for name, count in look.classes.items() if count < 20]
        if few:
            said.append(f"classes with under 20 images: {', '.join(few[:5])}; too few to train conditionally")
        elif not look.balanced:
            counts = sorted(look.classes.values())
            said.append(f"classes are uneven ({counts[0]:,} to {counts[-1]:,}); fakes will be drawn as unevenly")
    return said


def command(look: Look, *, bits: int | None = None, proposed: str | None = None) -> str | None:
    """The training command; None if it would be refused, as there are too few images.

    Args:
        look: properties of the images.
        bits: `data.bits`, if given.
        proposed: the command without these settings; None: to train on the images' path.
    """
    if too_few(look) is not None:
        return None
    settings = [] if bits is None else [f"data.bits={bits}"]
    if (how := leaving_out(look)) is not None:
        settings.append(how)
    # A preset's name would be the preset; the embedded digits are one, too.
    hidden = look.layout != "embedded" and look.path in configuration.preset_names()
    return " ".join([proposed or errors.command_line("train", f"./{look.path}" if hidden else look.path), *settings])


def summary_lines(look: Look) -> list[tuple[str, str]]:
    """(subject, description) pairs that summarise the images."""
    lines = [("images", f"{look.count:,} ({look.layout})")]
    if look.ignored:
        lines.append(("other files", f"{look.ignored:,}, ignored"))
    if not look.side:  # none could be read
        return [*lines, ("unreadable", f"{len(look.unreadable):,}")]
    lines.append(
        ("size", f"half have a shorter side of {look.side} px or more; largest {look.largest[0]}×{look.largest[1]}")
    )
    lines.append(("colours", "grey" if look.channels == 1 else "RGB"))
    if look.classes:
        counts = sorted(look.classes.values())
        named = ", ".join([f"{name} {count:,}" for name, count in look.classes.items()][:10])
        more = ", …" if len(look.classes) > 10 else ""
        lines.append(("classes", f"{len(look.classes)}, of {counts[0]:,} to {counts[-1]:,} images: {named}{more}"))
    if look.mirror is None:
        lines.append(("mirrored", "not measured: too few different images"))
    else:
        turned, share = "cannot" if look.mirror < 0.6 else "can", f"{look.mirror:.0%}; 50% is by chance"
        lines.append(("mirrored", f"an image {turned} be told from its mirror image ({share})"))
    lines.append(("duplicates", f"{look.duplicates:,} of {look.looked_at:,} looked at"))
    lines.append(("unreadable", f"{len(look.unreadable):,}"))
    return lines
