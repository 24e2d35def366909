"""What several test files share and no fixture can hand them."""

from __future__ import annotations

SMALLEST = [
    "data.size=16",
    "data.max_images=24",
    "model.width=2",
    "model.latent=4",
    "train.batch_size=8",
    "train.device=cpu",
]


def tiny_run(*overrides: str) -> list[str]:
    """Settings of the smallest run of digits, with more of them or others in their place."""
    return [*SMALLEST, *overrides]
