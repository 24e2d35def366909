"""Data sets of the Hugging Face Hub by name: their parquet files."""

from __future__ import annotations

import re
from pathlib import Path

from steadygan.data.containers.parquet import Parquet
from steadygan.errors import UserError, require

PREFIX = "hf:"


def open_hub(path: str) -> Parquet:
    """`hf:USER/NAME`, `hf:USER/NAME/SPLIT` or `hf:USER/NAME@REVISION/SPLIT`; the split is `train` by default.

    huggingface_hub downloads the split's parquet files once, into its own cache (HF_HOME). Raises UserError if it is
    not installed, or if there is no such data set, no network or no parquet file.
    """
    match = re.fullmatch(r"([\w.-]+/[\w.-]+)(?:@([\w.-]+))?(?:/([\w.-]+))?", path.removeprefix(PREFIX))
    if match is None:
        raise UserError(f"{path} is invalid: give hf:USER/NAME or hf:USER/NAME/SPLIT, e.g. hf:uoft-cs/cifar10")
    require("huggingface_hub", "hf", path)
    from huggingface_hub import snapshot_download

    repository, revision, split = match[1], match[2], match[3] or "train"
    patterns = [f"*{split}-*.parquet", f"*{split}.parquet", f"*{split}/*.parquet"]
    try:
        folder = Path(snapshot_download(repository, repo_type="dataset", revision=revision, allow_patterns=patterns))
    except Exception as error:  # huggingface_hub raises errors of several HTTP libraries.
        raise UserError(f"{path} cannot be fetched: {str(error).splitlines()[0]}") from None
    # The snapshot may contain other splits from earlier downloads.
    wanted = re.compile(rf"(.*/)?{re.escape(split)}((-[^/]*)?|/[^/]*)\.parquet")
    shards = sorted(p for p in folder.rglob("*.parquet") if wanted.fullmatch(p.relative_to(folder).as_posix()))
    if not shards:
        raise UserError(
            f"{repository} on the Hub has no parquet files of a split {split!r}: name another split, "
            f"hf:{repository}/SPLIT, or a revision that has them, or download its images yourself"
        )
    return Parquet(shards)
