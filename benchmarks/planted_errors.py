"""What the check of an import notices: errors planted in a trained pipeline of diffusers, one at a time.

Run: python benchmarks/planted_errors.py FOLDER [--out benchmarks/results/planted-errors.json]
FOLDER is what benchmarks/foreign_digits.py made.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from timing import report
from torch import Tensor

from diffcov import Run
from diffcov.errors import DiffcovError

CONFIG, WEIGHTS = Path("unet", "config.json"), Path("unet", "diffusion_pytorch_model.safetensors")


def configured(**values: Any) -> Callable[[Path], None]:
    """Another configuration of the same weights."""

    def plant(folder: Path) -> None:
        known = json.loads((folder / CONFIG).read_text())
        (folder / CONFIG).write_text(json.dumps({**known, **values}))

    return plant


def weighted(change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> Callable[[Path], None]:
    """Other weights."""

    def plant(folder: Path) -> None:
        state = load_file(folder / WEIGHTS)
        save_file({name: tensor.contiguous() for name, tensor in change(state).items()}, folder / WEIGHTS)

    return plant


def negated(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: -tensor if name.startswith("conv_out.") else tensor for name, tensor in state.items()}


def exchanged(state: dict[str, Tensor]) -> dict[str, Tensor]:
    other = {".to_q.": ".to_v.", ".to_v.": ".to_q."}
    return {
        next((name.replace(a, b) for a, b in other.items() if a in name), name): tensor
        for name, tensor in state.items()
    }


PLANTED: dict[str, tuple[Callable[[Path], None], dict[str, Any]]] = {
    "nothing": (configured(), {}),
    "times off by one": (configured(), {"time_offset": 0.0}),
    "times * 1.1": (configured(), {"time_scale": 1.1}),
    "times / 4": (configured(), {"time_scale": 0.25}),
    "cosine for linear": (configured(), {"schedule": "cosine"}),
    "scaled_linear for linear": (configured(), {"schedule": "scaled_linear"}),
    "v for eps": (configured(), {"prediction": "v"}),
    "x0 for eps": (configured(), {"prediction": "x0"}),
    "range [0, 1]": (configured(), {"range": (0.0, 1.0)}),
    "sign": (weighted(negated), {}),
    "heads 8 wide for 16": (configured(attention_head_dim=8), {}),
    "one head": (configured(attention_head_dim=None), {}),
    "padding on two sides": (configured(downsample_padding=0), {}),
    "sin, cos for cos, sin": (configured(flip_sin_to_cos=False), {}),
    "frequencies of DDPM": (configured(freq_shift=1), {}),
    "q and v exchanged": (weighted(exchanged), {}),
    "norms of 4 groups for 8": (configured(norm_num_groups=4), {}),
    "epsilon of norms 1e-6": (configured(norm_eps=1e-6), {}),
}


def main() -> None:
    """Plant, import, and print as JSON what was said."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    result: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        for what, (plant, options) in PLANTED.items():
            shutil.rmtree(work / "it", ignore_errors=True)
            shutil.copytree(given.folder, work / "it")
            plant(work / "it")
            try:
                found = Run(work / "run").bring(work / "it", data="digits", force=True, **options)
            except DiffcovError as error:
                result[what] = {"refused": str(error).partition(" has ")[2].partition(":")[0]}
            else:
                assert found.check is not None
                taken = {way.name: way.word for way in found.ways if way.taken}
                result[what] = {"error over a Gaussian's": found.check.score, "taken": taken}
    report(result, given.out)


if __name__ == "__main__":
    main()
