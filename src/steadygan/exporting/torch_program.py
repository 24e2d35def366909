"""Exports a torch program: `torch.export.load("generator.pt2").module()(z=…)`, without steadygan."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import torch

from steadygan.exporting.program import Program, place_of, programs, quiet, traced
from steadygan.exporting.subject import Subject
from steadygan.files import write_whole

ABOUT = "about.json"
"""The metadata file inside the program."""


def write(subject: Subject, out: Path) -> None:
    for program in programs(subject):
        write_whole(place_of(out, program), partial(_save, program, traced(program)))


def _save(program: Program, graph: torch.export.ExportedProgram, file: Path) -> None:
    with quiet(), file.open("wb") as stream:
        torch.export.save(graph, stream, extra_files={ABOUT: json.dumps(program.about, ensure_ascii=False)})
