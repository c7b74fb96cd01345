"""A mean whose network somebody else's function builds becomes a run's."""

from __future__ import annotations

from typing import Any

import torch

from diffcov.denoiser.mean_model import MeanModel
from diffcov.denoiser.spec import MeanSpec
from diffcov.errors import InputError
from diffcov.nets.built_by import BuiltBy
from diffcov.store.atomic import refuse_existing
from diffcov.store.checkpoint import save_mean
from diffcov.store.datasets import load_images
from diffcov.store.run import RunFolder

__all__ = ["save_own_mean"]


def save_own_mean(
    run: RunFolder, mean: MeanModel, builder: str, arguments: dict[str, Any], data: str | None, force: bool
) -> None:
    """Write the weights and the reading of a mean, and the name of the function that builds its network.

    Args:
        run: the run directory.
        mean: the mean.
        builder: "package.module:function".
        arguments: that it is called with.
        data: the images that the mean was trained on, if they are at hand.
        force: replace a mean that is there.

    Raises:
        UsageError: a builder's name of another form.
        InputError: a function that cannot be imported, or that builds another network; images of another kind.
        OutputError: a mean is there, or the file system refuses.
    """
    refuse_existing(run.mean, force, "use force=True to replace it, or another path")
    spec = MeanSpec.of(mean, builder, arguments)
    _check_builds(spec.network, mean)
    training = {}
    if data is not None:
        images = load_images(data)
        if not images.description.same_pixels(mean.data):
            raise InputError(f"{data} holds images of {images.description}, but the mean's are {mean.data}")
        training["data"] = images.provenance(None, labelled=bool(mean.classes))
    save_mean(run.mean, mean.network, spec, training)


def _check_builds(network: Any, mean: MeanModel) -> None:
    """Refuse (InputError) a builder that does not build the mean's network, before a later command finds out."""
    assert isinstance(network, BuiltBy)
    if network.builder.startswith("__main__"):
        raise InputError(
            f"{network.builder} is in the script that is running, which other programs cannot import; move the "
            "function into a module of its own"
        )
    built = network.build()
    told = f"{network.builder} with the arguments {dict(network.arguments)}"
    try:
        built.load_state_dict(mean.network.state_dict())
    except RuntimeError as error:
        detail = " ".join(str(error).split())
        raise InputError(f"{told} builds a network that these weights do not fit: {detail}") from error
    other = MeanModel(built, mean.reading, mean.tapped_at, mean.autocast).freeze()
    other.to(mean.device)
    x_t = torch.randn(1, *mean.data.shape, generator=torch.Generator().manual_seed(0)).to(mean.device)
    label = torch.zeros(1, dtype=torch.int64, device=mean.device) if mean.classes else None
    with torch.inference_mode():
        same = torch.equal(other.output(x_t, 1, label), mean.output(x_t, 1, label))
    if not same:
        raise InputError(
            f"{told} builds a network that predicts something else from the same weights; give the arguments that this "
            "one was built with"
        )
