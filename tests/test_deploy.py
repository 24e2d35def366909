"""The templates in deploy/ are well-formed, and the commands they call exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import yaml
from torch.distributed.run import get_args_parser

from steadygan import config

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"


def job() -> Any:
    service, job = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8"))
    assert service["metadata"]["name"] == job["spec"]["template"]["spec"]["subdomain"]
    return job["spec"]


def scripts() -> dict[str, str]:
    (container,) = job()["template"]["spec"]["containers"]
    return {"bash": (DEPLOY / "slurm.sbatch").read_text(encoding="utf-8"), "sh": container["args"][0]}


def test_the_scripts_are_scripts() -> None:
    for shell, text in scripts().items():
        subprocess.run([shell, "-n"], input=text, text=True, check=True)


def test_torchrun_knows_what_it_is_told() -> None:
    known = {option for action in get_args_parser()._actions for option in action.option_strings}
    for text in scripts().values():
        (line,) = re.findall(r"torchrun +--nnodes.*?-m steadygan train", text.replace("\\\n", ""), re.DOTALL)
        assert set(re.findall(r"--[a-z-]+", line)) <= known
        assert "TORCH_DISABLE_SHARE_RDZV_TCP_STORE" in (DEPLOY / "slurm.sbatch").read_text(encoding="utf-8")


def test_the_job_meets_itself() -> None:
    spec = job()
    (container,) = spec["template"]["spec"]["containers"]
    given = {entry["name"]: entry["value"] for entry in container["env"]}
    assert int(given["NODES"]) == spec["parallelism"] == spec["completions"]
    assert given["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] == "1"
    assert int(given["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"]) < spec["template"]["spec"]["terminationGracePeriodSeconds"]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in spec["template"]["spec"]["volumes"]}
    assert given["COMMAND"].split()[0] in config.preset_names()
