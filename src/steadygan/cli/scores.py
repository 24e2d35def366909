"""`steadygan evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from steadygan.cli.importing import introduce, print_terms
from steadygan.cli.terminal import (
    Data,
    Device,
    MaxUnreadable,
    TruncationOption,
    Weights,
    as_truncation,
    make_console,
    print_scores,
    progress_bars,
)
from steadygan.errors import UserError


def _file(extractor: str) -> Any:
    return typer.Option(help=f"file of {extractor}'s weights", show_default=False)


def evaluate(
    path: Annotated[
        Path, typer.Argument(help="a run, a generator (with --data), or generated images", show_default=False)
    ],
    against: Annotated[
        Path | None, typer.Argument(help="real images, when PATH is images: folders or zips", show_default=False)
    ] = None,
    protocol: Annotated[str | None, typer.Option(help="a named protocol, or health  [default: the data's]")] = None,
    reals: Annotated[Path | None, typer.Option(help="the protocol's test images  [default: eval.reals]")] = None,
    truncation: TruncationOption = None,
    features: Annotated[
        str | None, typer.Option(help="for images, required: an extractor, or your own module:Class")
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(help="for images: crop and resize them to this side, 1 pixel or more  [default: as they are]"),
    ] = None,
    max_unreadable: MaxUnreadable = None,
    inception_weights: Annotated[Path | None, _file("Inception")] = None,
    squeezenet_weights: Annotated[Path | None, _file("SqueezeNet")] = None,
    dinov2_weights: Annotated[Path | None, _file("DINOv2")] = None,
    weights: Weights = "ema",
    device: Device = "auto",
    data: Data = None,
    lpips: Annotated[
        Path | None, typer.Option(help="translations: AlexNet's weights, to compute LPIPS as well")
    ] = None,
) -> None:
    """Score a run, a generator without one, or a folder of images.

    Of a run the best (else newest) checkpoint is scored and recorded. An imported or exported generator, or a file of
    another program, is scored against the images of --data.
    """
    from steadygan.data.decoding import MAX_UNREADABLE
    from steadygan.evaluation.images import evaluate_images
    from steadygan.evaluation.run import evaluate as evaluate_run
    from steadygan.metrics.sharding import processes
    from steadygan.pretrained.registry import EXTRACTORS

    given = {"inception": inception_weights, "squeezenet": squeezenet_weights, "dinov2": dinov2_weights}
    given["inception-pytorch"] = inception_weights
    files = {name: file for name, file in given.items() if file is not None}
    with processes() as shard, progress_bars():
        how: dict[str, Any] = {"device": device, "extractor_weights": files, "shard": shard}
        if against is None:
            introduce(path)
            if features is not None or size is not None:
                raise UserError("--features and --size are for two folders of images: give the second")
            how |= {"protocol": protocol, "reals": reals, "data": data, "weights": weights, "lpips": lpips}
            record = evaluate_run(
                path,
                truncation=as_truncation(truncation),
                max_unreadable=max_unreadable,
                **how,
            )
        else:
            if features is None:
                raise UserError(f"--features: name an extractor for the images, one of {', '.join(EXTRACTORS)}")
            if protocol is not None or reals is not None or truncation is not None or data is not None:
                raise UserError(
                    "--protocol, --reals, --truncation and --data are for a run, not for two folders of images"
                )
            bad = MAX_UNREADABLE if max_unreadable is None else max_unreadable
            record = evaluate_images(path, against, features=features, size=size, max_unreadable=bad, **how)
        if shard.rank == 0:
            print_scores(make_console(), record)
            if against is None:
                print_terms(path)
