"""The augmentations of a configuration, in order of application."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from steadygan.config import AugmentConfig
from steadygan.errors import UserError
from steadygan.transforms.ada import ADA, strengths
from steadygan.transforms.adaptive import Controller
from steadygan.transforms.chain import Chain, Transform
from steadygan.transforms.consistency import Consistency
from steadygan.transforms.diffaugment import DiffAugment
from steadygan.transforms.registry import build_transforms


@dataclass(frozen=True)
class Pipeline:
    """The augmentations of a run.

    Attributes:
        consistency: the augmentation T of consistency terms; None if it does nothing.
        pre_d: the transform of all inputs of D; None if there is none.
        controllers: controllers of the active adaptive augmentations, by name.
        own: custom transforms within `pre_d`, by name.
    """

    consistency: Consistency | None
    pre_d: Transform | None
    controllers: Mapping[str, Controller]
    own: Mapping[str, Transform]


def build_pipeline(augment: AugmentConfig, *, batch: int, images: int = 1) -> Pipeline:
    """Builds the pipeline: DiffAugment, then ADA, then custom transforms.

    Args:
        augment: the section of the configuration.
        batch: images per phase, for controllers.
        images: number of images concatenated along D's input channels (pix2pix: 2).

    Raises:
        UserError: augmentations exclude each other, or a custom one cannot be built.
    """
    if augment.ada is not None and augment.diffaugment.placement != "both":
        raise UserError(
            "augment.ada: augment.diffaugment.placement is an ablation of DiffAugment alone; set it to both"
        )
    sections = {name: section for name, section in (("ada", augment.ada), ("apa", augment.apa)) if section is not None}
    controllers = {
        name: Controller(target=section.target, kimg=section.kimg, interval=section.every * batch, p=section.p)
        for name, section in sections.items()
    }
    consistency = Consistency(**augment.consistency.model_dump())
    own = build_transforms(augment.transforms)
    policy = augment.diffaugment.policy
    stages: list[Transform] = [DiffAugment(policy, images)] if policy else []
    if augment.ada is not None:
        stages.append(ADA(controllers["ada"], strengths(augment.ada.ops)))
    stages.extend(own.values())
    return Pipeline(
        consistency=consistency if consistency.flip or consistency.shift or consistency.cutout else None,
        pre_d=Chain(tuple(stages)) if len(stages) > 1 else stages[0] if stages else None,
        controllers=controllers,
        own=own,
    )
