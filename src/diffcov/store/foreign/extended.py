"""What Extended-Analytic-DPM and OCM-DPM write beside a mean: variance heads, checkpoints of runs, tables of norms.

Their trunk has the names of improved-diffusion. The head is ``out2``: norm, SiLU and convolution on what goes into the
output ("simple"), or a residual block with the time embedding before these ("complex"). A checkpoint is a dictionary of
``ema_models_states`` and ``models_states``, each a state dictionary by the name of a model, or a folder of them.

Source: arXiv 2206.07309 and 2406.10808.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffcov.covariance import registry
from diffcov.covariance.head_based import HeadCovariance
from diffcov.denoiser.time import TimeConvention
from diffcov.errors import InputError
from diffcov.nets.unet import UNetConfig
from diffcov.store.foreign.facts import Fact, Foreign, ForeignHead
from diffcov.store.foreign.openai import read_openai
from diffcov.store.foreign.pickles import array_of
from diffcov.store.foreign.programs import builder_of_program
from diffcov.store.foreign.stored import TensorRecord
from diffcov.store.foreign.torch_files import read_torch_file
from diffcov.store.foreign.variations import times

__all__ = ["OUT2", "PUBLISHED", "is_run_folder", "read_extended", "read_norms", "state_file", "states_of"]

PARTS = ("ema_models_states", "models_states")
"""Parts of a checkpoint that hold networks, the averaged ones first."""
MODEL = "model"
"""What a run calls its network where it has several."""
OUT2 = "out2."
"""The beginning of the names of a head's weights."""
SIMPLE = {"0.": "out.0.", "2.": "out.2."}
COMPLEX = {"0.": "block.", "1.": "out.0.", "3.": "out.2."}
"""Beginnings of names within ``out2``, and of those of our heads."""
TIMES = "1..T, then * 1000 / T"


def _published() -> dict[str, type[HeadCovariance]]:
    classes = {name: registry.load(name) for name in registry.heads()}
    return {name: one for name, one in classes.items() if issubclass(one, HeadCovariance) and one.file_words}


PUBLISHED = _published()
"""Covariances whose heads are published, by name."""


def is_run_folder(path: Path) -> bool:
    """Whether a folder is a checkpoint of one of their runs."""
    return any((path / part).is_dir() for part in PARTS)


def state_file(path: Path) -> tuple[Path, str]:
    """The file of the network in such a folder, and the part that it is from: the average where there is one.

    Raises:
        InputError: no file, or several of which none is called model.
    """
    part = next(part for part in PARTS if (path / part).is_dir())
    files = {file.stem: file for file in sorted((path / part).glob("*.pth"))}
    return files[_one_of(list(files), path / part)], part


def states_of(values: Any, path: Path) -> tuple[Any, str] | None:
    """The state dictionary of the network in a checkpoint that is one file, and its part; None for any other file.

    Raises:
        InputError: several networks of which none is called model.
    """
    if not isinstance(values, Mapping):
        return None
    for part in PARTS:
        states = values.get(part)
        if isinstance(states, Mapping) and states and all(isinstance(state, Mapping) for state in states.values()):
            return states[_one_of([str(name) for name in states], f"{path}, {part},")], part
    return None


def _one_of(names: list[str], where: Path | str) -> str:
    if len(names) == 1 or MODEL in names:
        return MODEL if MODEL in names else names[0]
    held = ", ".join(names) or "none"
    raise InputError(
        f"{where} holds the networks {held}, and of several the one called {MODEL} is read; give a file of one"
    )


def read_extended(weights: Mapping[str, Tensor], source: Path, size: tuple[int, int] | None) -> Foreign:
    """The mean model of weights that have an ``out2``, with the head that this is.

    Raises:
        InputError: a trunk or a head that is not one of theirs.
    """
    trunk = {name: tensor for name, tensor in weights.items() if not name.startswith(OUT2)}
    found = read_openai(trunk, source, size)
    own = {name.removeprefix(OUT2): tensor for name, tensor in weights.items() if name.startswith(OUT2)}
    network = "complex" if "3.weight" in own else "simple"
    head = ForeignHead(network, _renamed(own, COMPLEX if network == "complex" else SIMPLE, source), _said_by(source))
    config = found.meaning.network
    assert isinstance(config, UNetConfig)
    if network == "complex" and not config.scale_shift:
        raise InputError(
            f"the complex head in {source} adds the time embedding and does not scale by it, which no head here does"
        )
    kind = head.kind or "of a kind that no name says"
    found = found.with_facts(Fact("variance head", f"{kind}, {network}", "out2"))
    return replace(_counting_from_one(found, config), head=head)


def _counting_from_one(found: Foreign, config: UNetConfig) -> Foreign:
    """Times as their networks of CIFAR-10 are told them; those with a learned variance are OpenAI's own."""
    if config.learned_range:
        return found
    reading = found.meaning.reading
    reading = replace(reading, time=TimeConvention(0.0, 1000 / reading.schedule.T))
    asked = times(TIMES, "0..1000 for any T", "0..T-1", "1..T")
    questions = tuple(asked if one.name == asked.name else one for one in found.open)
    meaning = replace(found.meaning, reading=reading)
    fact = Fact(asked.name, TIMES, "the custom of Extended-Analytic-DPM")
    return replace(found, meaning=meaning, open=questions).with_facts(fact)


def _renamed(own: Mapping[str, Tensor], names: Mapping[str, str], source: Path) -> dict[str, Tensor]:
    found = {}
    for name, tensor in own.items():
        start = f"{name.partition('.')[0]}."
        if start not in names:
            raise InputError(
                f"{source} has a variance head with out2.{name}, which neither simple nor complex ones have"
            )
        found[names[start] + name.removeprefix(start)] = tensor
    return found


def _said_by(source: Path) -> str | None:
    """The kind of head that a file's name says, if it says just one."""
    words = set(re.split(r"[^a-z0-9]+", source.name.lower()))
    said = [name for name, kind in PUBLISHED.items() if words & set(kind.file_words)]
    return said[0] if len(said) == 1 else None


def read_norms(path: Path) -> Tensor | None:
    """The numbers of a file that holds one row of them, (N,) float64, as ``ms_eps`` is; None for any other file.

    Raises:
        InputError: as for every pickle.
    """
    if not path.is_file() or path.suffix not in (".pth", ".pt") or builder_of_program(path) is not None:
        return None
    value = read_torch_file(path)
    if isinstance(value, TensorRecord):
        try:
            tensor = value.load()
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        value = tensor.double().numpy() if tensor.is_floating_point() else tensor.numpy()
    found = array_of(value)
    if found is None or found.ndim != 1 or found.dtype.kind != "f":
        return None
    return torch.from_numpy(found.astype(np.float64))
