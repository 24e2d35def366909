"""CycleGAN, pix2pix and CSGAN, from a checkout of theirs: see `import_agreement.py`."""

from __future__ import annotations

import importlib
from pathlib import Path

import torch
from peers.import_base import Networks, randomise

TRANSLATIONS = {
    # generator, its norm, dropout, size, images that D sees, D's layers
    "resnet_9blocks": ("resnet_9blocks", "instance", False, 64, 1, 3),
    "resnet_6blocks-old": ("resnet_6blocks", "instance", False, 64, 1, 3),
    "resnet_6blocks-batch-dropout": ("resnet_6blocks", "batch", True, 64, 2, 3),
    "resnet_6blocks-none": ("resnet_6blocks", "none", False, 64, 1, 2),
    "unet_256": ("unet_256", "batch", True, 256, 2, 3),
    "unet_256-instance": ("unet_256", "instance", False, 256, 2, 4),
    "unet_128": ("unet_128", "batch", False, 128, 2, 3),
    "ab": ("resnet_9blocks", "instance", False, 64, 1, 3),
    "ba": ("resnet_9blocks", "instance", False, 64, 1, 3),
}


def translation(checkout: Path, case: str) -> Networks:

    specification = importlib.util.spec_from_file_location("networks", checkout / "models" / "networks.py")
    assert specification is not None
    assert specification.loader is not None
    networks = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(networks)
    kind, norm, dropout, size, images, layers = TRANSLATIONS[case]
    direction = case if case in ("ab", "ba") else "ab"
    g, d, other_g, other_d = (
        network
        for _ in range(2)
        for network in (
            networks.define_G(3, 3, 8, kind, norm, dropout),
            networks.define_D(3 * images, 8, "n_layers", layers, norm),
        )
    )
    randomise(g, d, other_g, other_d)
    if case == "ab":
        files = {"G_A": g, "D_A": d, "G_B": other_g, "D_B": other_d}
    elif case == "ba":
        files = {"G_A": other_g, "D_A": other_d, "G_B": g, "D_B": d}
    else:
        files = {"G": g, "D": d}

    def save(place: Path) -> list[str]:
        for name, net in files.items():
            state = net.state_dict()
            if case.endswith("old"):  # as torch 0.3 kept statistics that it did not use
                for key in [key for key in state if key.endswith("weight")]:
                    state[key.replace("weight", "running_mean").replace("model.1.", "model.2.")] = torch.zeros(8)
            torch.save(state, place / f"latest_net_{name}.pth")
        return [f"latest_net_{name}.pth" for name in files]

    options = {"size": str(size)} if kind.startswith("resnet") else {}
    return Networks(
        save,
        lambda x, y: g(x),
        lambda x, y: d(x),
        [g, d, other_g, other_d],
        (3, size, size),
        (3 * images, size, size),
        options=options,
        direction=direction,
    )
