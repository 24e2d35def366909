"""Exports ONNX with torch's exporter and verifies it with ONNX Runtime before writing."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from steadygan.errors import UserError, require
from steadygan.exporting.program import Program, place_of, programs, quiet, traced
from steadygan.exporting.subject import Subject
from steadygan.files import write_whole

OUTPUT = "image"
TOLERANCE = 1e-4
"""Tolerance between ONNX Runtime's and torch's images, which are in about [−1, 1]; relative for larger values."""
CHECKED = (1, 3)
"""Batch sizes of the comparison, different from the traced one."""
MOST_BYTES = (1 << 31) - (1 << 20)
"""Maximum size of one ONNX file, from the format; larger weights would need an external file."""


def write(subject: Subject, out: Path) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        require(package, "onnx", "exporting to ONNX")
    for program in programs(subject):
        place = place_of(out, program)
        content = graph_of(program)
        check(program, content)
        write_whole(place, lambda file, content=content: file.write_bytes(content))  # type: ignore[misc]


def graph_of(program: Program) -> bytes:
    """The content of the ONNX file. Raises `UserError` for a network of more than 2 GiB."""
    size = sum(tensor.numel() * tensor.element_size() for tensor in program.module.state_dict().values())
    if size > MOST_BYTES:
        raise UserError(f"a network of {size / 2**30:.1f} GiB does not fit into one ONNX file; use --to torch")
    graph = traced(program)
    with torch.no_grad(), quiet(), _hushed():
        made = torch.onnx.export(
            graph, dynamo=True, verbose=False, input_names=list(program.inputs), output_names=[OUTPUT]
        )
    assert made is not None
    model = made.model_proto
    _forget_source(model)
    for key, value in program.about.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.shape.dim and value.name != "truncation":
            value.type.tensor_type.shape.dim[0].dim_param = "batch"
    content: bytes = model.SerializeToString()
    return content


def _forget_source(model: Any) -> None:
    """Removes stack traces, which contain paths of this machine."""
    for part in (model.graph, *model.functions):
        for entry in (*part.node, *part.value_info, *getattr(part, "input", ()), *getattr(part, "initializer", ())):
            if hasattr(entry, "metadata_props"):
                del entry.metadata_props[:]
                entry.doc_string = ""


def check(program: Program, content: bytes) -> None:
    """Compares a graph with the network at other batch sizes. Raises `UserError` if they differ."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for count in CHECKED:
        inputs = _examples(program, count)
        with torch.no_grad():
            expected = program.module(**inputs).numpy()
        (found,) = session.run([OUTPUT], {name: value.numpy() for name, value in inputs.items()})
        difference = float(np.abs(found - expected).max())
        if not difference <= TOLERANCE * max(1.0, float(np.abs(expected).max())):
            raise UserError(
                f"ONNX Runtime's images differ from torch's by {difference:.2g}, more than {TOLERANCE:g}: nothing was "
                "written; please report it with the versions of torch and onnxruntime"
            )


def _examples(program: Program, count: int) -> dict[str, Any]:
    """Example inputs with another batch size."""
    generator = torch.Generator().manual_seed(count)
    found = {}
    for name, value in program.inputs.items():
        if value.dim() == 0:
            found[name] = torch.rand((), generator=generator)
        elif value.is_floating_point():
            found[name] = torch.randn(count, *value.shape[1:], generator=generator).clamp(-1, 1)
        else:
            found[name] = value[:1].expand(count).clone()
    return found


@contextmanager
def _hushed() -> Iterator[None]:
    """Context manager: silences the exporter's progress messages."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
