"""`steadygan settings`: every key of a configuration and every option, with type, default and description."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated

import typer

from steadygan.errors import UserError, command_line


def settings(
    word: Annotated[
        str | None, typer.Argument(help="list only those with this word in key or description", show_default=False)
    ] = None,
) -> None:
    """List every setting with its type, default and meaning. Write `key=value` after `train SOURCE`."""
    from steadygan.settings import every_setting, matching

    known = every_setting()
    found = known if word is None else matching(known, word)
    if not found:
        close = get_close_matches(word or "", {setting.key.rpartition(".")[2] for setting in known}, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise UserError(f"no setting matches {word!r}; {hint}`{command_line('settings')}` lists all of them")
    for group in dict.fromkeys(setting.group for setting in found):
        typer.echo(typer.style(f"\n{group}", bold=True))
        for setting in found:
            if setting.group == group:
                typer.echo(f"  {setting.key}" + (f"   {setting.where}" if setting.where else ""))
                typer.echo(f"      {setting.about}")
    typer.echo(
        f"\n{len(found)} setting{'s' * (len(found) != 1)}"
        + (f"; `{command_line('settings', 'WORD')}` lists some" if word is None else "")
    )
