"""Export targets by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from steadygan.errors import UserError, nearest
from steadygan.exporting import folder, hub, onnx_file, state_dict, torch_program
from steadygan.exporting.peers import cyclegan, nvidia, rosinality
from steadygan.exporting.subject import Options, Subject, open_subject
from steadygan.files import check_folder, make_folder
from steadygan.runs.outputs import check_output, default_output
from steadygan.runs.shared import HUB, hub_name


class Target(NamedTuple):
    """An export target: description, file suffix (empty: a folder) and writer."""

    what: str
    suffix: str
    write: Callable[[Subject, Path], None]


TARGETS: Mapping[str, Target] = MappingProxyType(
    {
        "safetensors": Target(
            "a folder with weights, description and model card, for steadygan.load", "", folder.write
        ),
        "zip": Target("that folder as one zip file", ".zip", folder.write_zip),
        "onnx": Target("a graph for ONNX Runtime, in Python or a browser", ".onnx", onnx_file.write),
        "torch": Target("a program that torch.export.load opens without steadygan", ".pt2", torch_program.write),
        "state-dict": Target("the tensors by name, for torch.load(…, weights_only=True)", ".pt", state_dict.write),
        "rosinality": Target("for rosinality/stylegan2-pytorch: g_ema and latent_avg", ".pt", rosinality.write),
        "stylegan2-ada": Target("a state dict of NVIDIA's stylegan2-ada-pytorch and stylegan3", ".pt", nvidia.write),
        "cyclegan": Target("for pytorch-CycleGAN-and-pix2pix: latest_net_G_A.pth, …_B.pth", "", cyclegan.write),
    }
)


def export(
    path: str | Path,
    to: str,
    out: str | Path | None = None,
    *,
    truncation: float | None = None,
    licence: str = "",
    public: bool = False,
    token: str | None = None,
) -> Path | str:
    """Exports the averaged generator of a run, a checkpoint or an imported model.

    Args:
        path: any path for `steadygan.load`.
        to: a name in `TARGETS`, or `hub:USER/NAME`.
        out: the file or folder, which must not exist; by default in the run or next to the checkpoint.
        truncation: for fixed graphs with batch norm: the truncation at which statistics are gathered.
        licence: your licence for the weights, for the card.
        public: create a public Hub repository; private by default.
        token: Hub token; by default that of `hf auth login` or HF_TOKEN.

    Returns:
        The written path, or the repository's URL.

    Raises:
        UserError: the target is unknown or does not fit this generator, a required package is missing, or writing
            fails.
    """
    path, options = Path(path), Options(truncation, licence, public, token)
    if to.startswith(HUB):
        if out is not None:
            raise UserError(f"--out is for files; --to {to} is already a destination, so omit --out")
        hub_name(to)
        return hub.upload(open_subject(path, options), to)
    target = TARGETS.get(to)
    if target is None:
        raise UserError(f"--to {to}: unknown target; {nearest(to, [*TARGETS, 'hub:USER/NAME'])}")
    place = Path(out) if out is not None else default_output(path, f"generator{target.suffix}")
    if place.exists():
        raise UserError(f"{place} exists already; choose another path with --out, or remove it")
    check_folder(place.parent, place)
    check_output(place, path)
    subject = open_subject(path, options)
    make_folder(place.parent, place)
    target.write(subject, place)
    return place
