"""Every variant of EDM's networks that is read, small, with weights that are drawn; what theirs answers is an asset.

``assets/edm-expected.npz`` holds for each case the levels sigma, computed by the formulas of the paper with numpy, and
D(x_0 + sigma eps; sigma) as nvidia-modulus 0.5.0 computes it in float64, whose ``models.diffusion`` descends from
NVlabs/edm and has its classes, with the weights of ``numbered_state`` and the seed that is the case's place. Their
iDDPMPrecond sums its levels up in float32, which moves the first by 5e-4; it was given them in float64.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffcov.nets.adapters.edm_unets import UNETS
from oracles.edm import numbered_state, persisted, written

__all__ = ["CASES", "EXPECTED", "LABELS", "TIMES", "Case", "images", "snapshot", "state"]

EXPECTED = Path(__file__).parents[1] / "assets" / "edm-expected.npz"
LABELS = torch.tensor([2, 0])
TIMES = (1, 250, 600, 900)


@dataclass(frozen=True)
class Case:
    """A network.

    Attributes:
        kind: class of its preconditioning.
        numbers: attributes of that.
        unet: class of the network in it.
        config: arguments of that, by their names.
        classes: labels that it takes.
    """

    kind: str
    unet: str = "SongUNet"
    classes: int = 0
    numbers: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def whole(self) -> dict[str, Any]:
        """All that the network in it was made with."""
        outputs = 6 if self.kind == "iDDPMPrecond" else 3
        sizes = {"img_resolution": 8, "in_channels": 3, "out_channels": outputs, "label_dim": self.classes}
        return {**sizes, **self.config}


EDM = {"sigma_data": 0.5, "sigma_min": 0, "sigma_max": float("inf")}
VP = {"beta_d": 19.9, "beta_min": 0.1, "M": 1000}
SMALL = {"model_channels": 16, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [8]}
ADM = {"model_channels": 32, "channel_mult": [2, 4], "num_blocks": 1, "attn_resolutions": [4], "channel_mult_emb": 2}
PLUS = {"embedding_type": "positional", "encoder_type": "standard", "decoder_type": "standard"}
NCSN = {
    "embedding_type": "fourier", "encoder_type": "residual", "decoder_type": "standard", "channel_mult_noise": 2,
    "resample_filter": [1, 3, 3, 1],
}  # fmt: skip

CASES = {
    "ddpmpp-edm": Case("EDMPrecond", numbers=EDM, config={**SMALL, **PLUS, "augment_dim": 9}),
    "ddpmpp-edm-classes": Case("EDMPrecond", classes=3, numbers=EDM, config={**SMALL, **PLUS}),
    "ddpmpp-vp": Case("VPPrecond", numbers=VP, config={**SMALL, **PLUS, "attn_resolutions": [4]}),
    "ddpmpp-vp-classes": Case("VPPrecond", classes=3, numbers={**VP, "M": 500}, config={**SMALL, "num_blocks": 2}),
    "three-levels": Case("EDMPrecond", numbers={**EDM, "sigma_data": 1.3}, config={**SMALL, "channel_mult": [1, 2, 3]}),
    "residual": Case("EDMPrecond", numbers=EDM, config={**SMALL, "encoder_type": "residual"}),
    "ncsnpp-edm": Case("EDMPrecond", numbers=EDM, config={**SMALL, **NCSN}),
    "ncsnpp-edm-classes": Case("EDMPrecond", classes=3, numbers=EDM, config={**SMALL, **NCSN, "augment_dim": 9}),
    "ncsnpp-ve": Case("VEPrecond", numbers={"sigma_min": 0.02, "sigma_max": 100}, config={**SMALL, **NCSN}),
    "adm-edm": Case("EDMPrecond", "DhariwalUNet", numbers=EDM, config=ADM),
    "adm-edm-classes": Case("EDMPrecond", "DhariwalUNet", 3, EDM, {**ADM, "attn_resolutions": [8, 4]}),
    "adm-iddpm": Case("iDDPMPrecond", "DhariwalUNet", 0, {"C_1": 0.001, "C_2": 0.008, "M": 1000}, ADM),
}  # fmt: skip


def images() -> tuple[Tensor, Tensor]:
    """(x_0, eps), each (2, 3, 8, 8) float32."""
    draw = np.random.default_rng(99)
    x_0, eps = draw.uniform(-1, 1, (2, 3, 8, 8)), draw.standard_normal((2, 3, 8, 8))
    return torch.from_numpy(x_0).float(), torch.from_numpy(eps).float()


def state(name: str) -> dict[str, Tensor]:
    """The weights of a case, by the names of their file; those of the augmentation too, which nobody needs."""
    case = CASES[name]
    words = {"embedding_type": "fourier", "encoder_type": "residual"}
    config = {key: value for key, value in case.whole.items() if key not in (*words, "decoder_type", "augment_dim")}
    ours = {words[key]: value == words[key] for key, value in case.config.items() if key in words}
    empty = {f"model.{key}": value for key, value in UNETS[case.unet](**config, **ours).state_dict().items()}
    shapes = {key: tuple(value.shape) for key, value in empty.items() if not key.endswith("resample_filter")}
    if "augment_dim" in case.config:
        width = shapes["model.map_layer0.weight"][1]
        shapes["model.map_augment.weight"] = (width, case.config["augment_dim"])
    return {**empty, **numbered_state(shapes, list(CASES).index(name))}


def snapshot(name: str, folder: Path) -> Path:
    """A case as a file of EDM's training; its program would write ``was-run`` into the folder."""
    case = CASES[name]
    network = persisted(case.kind, case.unet, state(name), folder / "was-run", case.whole, **case.numbers)
    return written(network, folder / "network-snapshot-000003.pkl")
