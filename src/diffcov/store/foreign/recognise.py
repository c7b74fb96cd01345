"""The one way in for published models: a file or a folder, by whoever recognises it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from diffcov.data import DataDescription
from diffcov.errors import InputError
from diffcov.store.artifact import is_ours
from diffcov.store.foreign.diffusers_folder import is_diffusers_folder, read_diffusers_folder
from diffcov.store.foreign.edm import is_edm, read_edm
from diffcov.store.foreign.extended import OUT2, is_run_folder, read_extended, state_file, states_of
from diffcov.store.foreign.facts import Fact, Foreign
from diffcov.store.foreign.hub import fetched, is_hub_name
from diffcov.store.foreign.lucidrains import is_lucidrains, read_lucidrains
from diffcov.store.foreign.openai import is_openai, read_openai
from diffcov.store.foreign.programs import builder_of_program, read_program
from diffcov.store.foreign.stored import TensorRecord
from diffcov.store.foreign.torch_files import read_torch_file
from diffcov.store.foreign.weights import read_weights, state_dict_of, unwrapped

__all__ = ["FAMILIES", "read_foreign", "refuse_nothing"]

FAMILIES = (
    "a folder of diffusers, weights of improved-diffusion, guided-diffusion, Extended-Analytic-DPM or OCM-DPM, "
    "model-N.pt of denoising-diffusion-pytorch, a pickle of EDM, or a program of TorchScript or torch.export"
)
"""What can be read, in words."""
NOT_YET = {
    "model.diffusion_model.input_blocks.0.0.weight": "a latent diffusion model (LDM): it draws codes and not images",
    "x_embedder.proj.weight": "a DiT: it draws codes of an autoencoder and not images",
    "all_modules.0.weight": "a network of score_sde, which is not read yet",
    "temb.dense.0.weight": "a DDPM of ermongroup's or pesser's naming, which is not read yet",
}
"""Names of weights that tell families which are refused by name."""


def read_foreign(path: Path, size: tuple[int, int] | None = None, data: DataDescription | None = None) -> Foreign:
    """What a published model says of itself; nothing is built and nothing is run.

    Args:
        path: a file, a folder, or the name of a model on the hub.
        size: H and W of the images, where they are known.
        data: images of its kind, where some are at hand: a program does not say its own shape.

    Raises:
        InputError: nothing there, nothing that is known, something damaged, or a pickle that wants to run something.
    """
    refuse_nothing(path)
    if is_hub_name(str(path)):
        path = fetched(str(path))
    if path.is_dir():
        if is_diffusers_folder(path):
            return read_diffusers_folder(path)
        if is_run_folder(path):
            file, part = state_file(path)
            return _of_weights(read_weights(file), file, size).with_facts(Fact("part", part, str(path)))
        raise InputError(f"{path} is a folder without a config.json of a UNet2DModel; give {FAMILIES}")
    if not path.is_file():
        raise InputError(f"{path} is no ordinary file; give {FAMILIES}")
    if path.suffix == ".safetensors":
        if is_ours(path):
            raise InputError(f"{path} was written by diffcov: its run is ready as it is, copy the whole folder")
        return _of_weights(read_weights(path), path, size)
    if (builder := builder_of_program(path)) is not None:
        return read_program(path, builder, data)
    values = read_torch_file(path)
    if is_edm(values):
        return read_edm(values, path)
    if is_lucidrains(values):
        return read_lucidrains(values, path, size)
    if (found := states_of(values, path)) is not None:
        state, part = found
        return _of_weights(state_dict_of(state, path), path, size).with_facts(Fact("part", part, str(path)))
    return _of_weights(state_dict_of(_only_state(values), path), path, size)


def refuse_nothing(path: Path) -> None:
    """InputError where there is no such file or folder, and it is no name on the hub."""
    if not is_hub_name(str(path)) and not path.exists():
        raise InputError(f"there is nothing at {path}; give {FAMILIES}")


def _only_state(values: Any) -> Any:
    """The state dictionary in what a file holds: itself, or the one that a training wrapped."""
    for key in ("ema", "state_dict", "model"):
        inner = values.get(key) if isinstance(values, Mapping) else None
        if isinstance(inner, Mapping) and any(isinstance(value, TensorRecord) for value in inner.values()):
            return inner
    return values


def _of_weights(weights: dict[str, Tensor], path: Path, size: tuple[int, int] | None) -> Foreign:
    plain = {unwrapped(name): tensor for name, tensor in weights.items()}
    if is_openai(plain):
        if any(name.startswith(OUT2) for name in plain):
            return read_extended(plain, path, size)
        return read_openai(plain, path, size)
    for name, what in NOT_YET.items():
        if name in weights or name in plain:
            raise InputError(f"{path} is {what}")
    names = ", ".join(list(weights)[:4])
    raise InputError(
        f"{path} holds weights of no known family ({names}, ...); give {FAMILIES}; a network of your own program needs "
        "no import: docs/python.md, or diffcov.MeanModel.of in Python"
    )
