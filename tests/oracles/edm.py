"""Files as EDM's training writes them: a network pickled together with the source of its program.

The structure is that of NVlabs/edm's ``torch_utils/persistence.py`` (version 6) and ``training/networks.py``: every
module of theirs is one call of ``_reconstruct_persistent_obj`` with its class's name, its attributes and the arguments
that it was made with, containers are torch's own, tensors are files of ``torch.save`` within the pickle. The source
that travels along here would leave a mark behind if anybody ran it.
"""

from __future__ import annotations

import pickle
import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["numbered_state", "persisted", "written"]


def _reconstruct_persistent_obj(meta: Mapping[str, Any]) -> Any:
    raise AssertionError("the program of a pickle was asked for")


_reconstruct_persistent_obj.__module__ = "torch_utils.persistence"


class EasyDict(dict[str, Any]):
    """Their dictionary of attributes."""


EasyDict.__module__ = "dnnlib.util"


class Persisted(nn.Module):
    """A module that pickles as theirs do."""

    def __init__(self, kind: str, source: str, *arguments: Any, **named: Any) -> None:
        super().__init__()
        self._kind, self._source = kind, source
        self._init_args, self._init_kwargs = arguments, named

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        state = {name: value for name, value in self.__dict__.items() if name not in ("_kind", "_source")}
        meta = {
            "type": "class", "version": 6, "module_src": self._source, "class_name": self._kind, "state": state
        }  # fmt: skip
        return _reconstruct_persistent_obj, (meta,), None


@contextmanager
def their_modules() -> Iterator[None]:
    """Their package, as far as its names go."""
    made = {
        "torch_utils": {},
        "torch_utils.persistence": {"_reconstruct_persistent_obj": _reconstruct_persistent_obj},
        "dnnlib": {},
        "dnnlib.util": {"EasyDict": EasyDict},
    }
    for name, held in made.items():
        module = types.ModuleType(name)
        module.__dict__.update(held)
        sys.modules[name] = module
    try:
        yield
    finally:
        for name in made:
            del sys.modules[name]


def persisted(
    kind: str, unet: str, state: Mapping[str, Tensor], mark: Path, config: Mapping[str, Any], **numbers: Any
) -> Persisted:
    """A network of theirs.

    Args:
        kind: class of the preconditioning.
        unet: class of the network in it.
        state: its state dictionary, every name with ``model.`` before it.
        mark: a file that its program would write.
        config: what the network in it was made with.
        numbers: attributes of the preconditioning, all of them.
    """
    source = f"with open({str(mark)!r}, 'w') as file:\n    file.write('was run')\n"
    whole = Persisted(kind, source, img_resolution=config["img_resolution"], model_type=unet, **numbers)
    whole.__dict__.update(numbers, img_resolution=config["img_resolution"], use_fp16=True)
    whole.add_module("model", Persisted(unet, source, **config))
    whole.model.label_dropout = 0
    for name, tensor in state.items():
        *parents, last = name.split(".")
        place: nn.Module = whole
        for depth, parent in enumerate(parents):
            if parent not in dict(place.named_children()):
                container = parent in ("enc", "dec")
                place.add_module(parent, nn.ModuleDict() if container else _part(parents[: depth + 1], source))
            place = dict(place.named_children())[parent]
        if last in ("resample_filter", "freqs", "u"):
            place.register_buffer(last, tensor)
        else:
            place.register_parameter(last, nn.Parameter(tensor))
    return whole.eval().requires_grad_(False)


def _part(place: list[str], source: str) -> Persisted:
    """A block, a convolution or a layer, with attributes of the kinds that theirs have."""
    last = place[-1]
    kind = (
        "Linear" if last.startswith("map") else "Conv2d" if "conv" in last or last in ("skip", "qkv") else "UNetBlock"
    )
    found = Persisted(kind, source, in_channels=3, init={"init_mode": "xavier_uniform", "init_weight": np.sqrt(0.2)})
    found.skip_scale, found.eps, found.num_heads = np.sqrt(0.5), 1e-6, 1
    found.register_parameter("never", None)
    return found


def written(network: Persisted, path: Path) -> Path:
    """A snapshot of training."""
    source = network._source
    values = {
        "ema": network,
        "loss_fn": Persisted("EDMLoss", source, P_mean=-1.2),
        "augment_pipe": Persisted("AugmentPipe", source, p=0.12),
        "dataset_kwargs": EasyDict(class_name="training.dataset.ImageFolderDataset", path="data.zip", use_labels=False),
    }
    with their_modules(), path.open("wb") as file:
        pickle.dump(values, file)
    return path


def numbered_state(shapes: Mapping[str, tuple[int, ...]], seed: int, size: float = 0.1) -> dict[str, Tensor]:
    """Weights that any program with numpy can draw again: in the order of their names, the same on every machine.

    Weights that multiply are scaled by the square root of how many they add up; norms are near 1.
    """
    draw = np.random.default_rng(seed)
    found = {}
    for name in sorted(shapes):
        shape = shapes[name]
        values = draw.standard_normal(shape)
        if len(shape) > 1:
            values /= np.sqrt(np.prod(shape[1:]))
        elif "norm" in name and name.endswith("weight"):
            values = 1 + size * values
        else:
            values *= size
        found[name] = torch.from_numpy(values).float()
    return found
