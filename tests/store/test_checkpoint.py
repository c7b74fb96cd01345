"""Mean models on disk: the same looks, bit for bit, or a refusal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from diffcov.data import DataDescription
from diffcov.denoiser.mean_model import MeanModel
from diffcov.denoiser.parametrisation import PARAMETRISATIONS
from diffcov.denoiser.reading import Reading
from diffcov.denoiser.spec import MeanSpec
from diffcov.denoiser.time import TimeConvention
from diffcov.diffusion.schedule import FAMILIES, NoiseSchedule
from diffcov.errors import InputError, NonFiniteError
from diffcov.nets.unet import UNetConfig
from diffcov.store import artifact
from diffcov.store.checkpoint import load_mean, save_mean

DATA = DataDescription(3, 8, 4, levels=17)
NETWORK = UNetConfig(3, 8, 4, channels=8, multipliers=(1, 2), blocks=1, attention=(2,), heads=2, dropout=0.5)
READING = Reading(NoiseSchedule.cosine(40), DATA, TimeConvention(offset=1.0, scale=25.0))
SPEC = MeanSpec(NETWORK, READING)
TRAINING = {"settings": {"lr": 1e-3, "multipliers": [1, 2]}, "iterations": 5, "data": {"source": "x"}}


def read_as(spec: MeanSpec = SPEC, **changed: Any) -> MeanSpec:
    """The spec with another reading."""
    return replace(spec, reading=replace(spec.reading, **changed))


def saved(path: Path, spec: MeanSpec = SPEC) -> tuple[MeanModel, str]:
    """A model with random weights everywhere (the last layer would start at 0), and the digest of its weights."""
    torch.manual_seed(0)
    model = spec.build()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.1)
    return model.eval(), save_mean(path, model.network, spec, TRAINING)


def assert_same_looks(found: MeanModel, expected: MeanModel, cond: Tensor | None = None) -> None:
    """To the bit, features included."""
    x_t, t = torch.randn(2, *expected.data.shape), torch.tensor([1, 40])
    with torch.no_grad():
        mine, theirs = found.look(x_t, t, cond), expected.look(x_t, t, cond)
    for a, b in zip((mine.x0_hat, mine.eps_hat, *mine.features), (theirs.x0_hat, theirs.eps_hat, *theirs.features),
                    strict=True):  # fmt: skip
        assert torch.equal(a, b)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("family", ["linear", "cosine", "vp"])
def test_round_trip_looks_the_same_to_the_bit(tmp_path: Path, family: str, precision: str) -> None:
    spec = replace(read_as(schedule=FAMILIES[family](40)), precision=precision)
    model, weights = saved(tmp_path / "mean.safetensors", spec)
    found = load_mean(tmp_path / "mean.safetensors")
    assert (found.spec, found.training, found.weights) == (spec, TRAINING, weights)
    assert found.digest == found.model.digest == model.digest
    assert_same_looks(found.model, model)
    assert torch.equal(found.model.schedule.alpha_bar, spec.reading.schedule.alpha_bar)
    assert found.model.data == DATA
    assert found.model.precision == precision


@pytest.mark.parametrize("predicts", PARAMETRISATIONS)
@pytest.mark.parametrize(("classes", "needs_labels"), [(0, False), (3, False), (3, True)])
def test_what_it_predicts_and_its_classes_survive(
    tmp_path: Path, predicts: str, classes: int, needs_labels: bool
) -> None:
    reading = replace(SPEC.reading, predicts=predicts, classes=classes, needs_labels=needs_labels)
    spec = replace(SPEC, reading=reading, network=replace(NETWORK, classes=classes))
    model, _ = saved(tmp_path / "mean.safetensors", spec)
    found = load_mean(tmp_path / "mean.safetensors")
    assert found.spec == spec
    assert found.digest == model.digest
    assert (found.model.classes, found.model.needs_labels) == (classes, needs_labels)
    assert_same_looks(found.model, model, torch.tensor([0, 2]) if classes else None)


def test_a_custom_schedule_survives(tmp_path: Path) -> None:
    spec = read_as(schedule=NoiseSchedule.from_alpha_bar([0.9, 0.5, 0.1 + 0.2, 1e-7]))
    saved(tmp_path / "mean.safetensors", spec)
    found = load_mean(tmp_path / "mean.safetensors")
    assert torch.equal(found.model.schedule.alpha_bar, spec.reading.schedule.alpha_bar)


def test_betas_that_end_at_noise_survive(tmp_path: Path) -> None:
    spec = read_as(schedule=NoiseSchedule.from_betas([0.1, 1 / 3, 1.0]), predicts="v")
    saved(tmp_path / "mean.safetensors", spec)
    found = load_mean(tmp_path / "mean.safetensors")
    assert found.spec == spec
    assert torch.equal(found.model.schedule.alpha_bar, spec.reading.schedule.alpha_bar)
    assert float(found.model.schedule.alpha_bar[-1]) == 0


def test_a_submodule_that_heads_read_survives(tmp_path: Path) -> None:
    spec = replace(SPEC, features="input_blocks.1")
    model, _ = saved(tmp_path / "mean.safetensors", spec)
    found = load_mean(tmp_path / "mean.safetensors")
    assert found.spec == spec
    assert found.model.tapped_at == "input_blocks.1"
    assert_same_looks(found.model, model)


def test_loaded_models_are_frozen_and_in_eval_mode(tmp_path: Path) -> None:
    saved(tmp_path / "mean.safetensors")
    model = load_mean(tmp_path / "mean.safetensors").model
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_saving_returns_the_digest_of_the_weights_alone(tmp_path: Path) -> None:
    model, digest = saved(tmp_path / "a.safetensors")
    other = read_as(schedule=NoiseSchedule.linear(40))
    assert save_mean(tmp_path / "b.safetensors", model.network, other, TRAINING) == digest
    with torch.no_grad():
        next(model.network.parameters()).view(-1)[0] += 1e-3
    assert save_mean(tmp_path / "c.safetensors", model.network, SPEC, TRAINING) != digest


def test_the_mean_s_digest_is_also_that_of_its_reading(tmp_path: Path) -> None:
    """The same weights under another schedule are another mean; precision and training are no part of it."""
    model, weights = saved(tmp_path / "a.safetensors")
    save_mean(tmp_path / "b.safetensors", model.network, read_as(schedule=NoiseSchedule.linear(40)), TRAINING)
    save_mean(tmp_path / "c.safetensors", model.network, replace(SPEC, precision="bf16"), {"iterations": 7})
    a, b, c = (load_mean(tmp_path / f"{name}.safetensors") for name in "abc")
    assert a.weights == b.weights == c.weights == weights
    assert a.digest == c.digest
    assert len({a.digest, b.digest, weights}) == 3


# --- where it came from


def test_a_mean_that_was_not_trained_here_says_so(tmp_path: Path) -> None:
    model, _ = saved(path := tmp_path / "mean.safetensors")
    save_mean(path, model.network, SPEC)
    found = load_mean(path)
    assert (found.training, found.data, found.settings) == ({}, None, {})
    saved(path)
    found = load_mean(path)
    assert (found.data, found.settings) == (TRAINING["data"], TRAINING["settings"])


@pytest.mark.parametrize("missing", ["predicts", "classes", "needs_labels", "features", "training"])
def test_a_file_of_the_version_before_is_read_as_that_did(tmp_path: Path, missing: str) -> None:
    """It wrote none of these: every mean predicted the noise, without classes, and offered its own features."""
    model, _ = saved(path := tmp_path / "mean.safetensors")
    found = artifact.read(path, "mean")
    del found.metadata[missing]
    artifact.write(path, "mean", found.tensors, found.metadata)
    again = load_mean(path)
    assert again.spec == SPEC
    assert again.digest == model.digest
    assert again.training == ({} if missing == "training" else TRAINING)


# --- what is refused


def rewritten(path: Path, drop: str = "", **metadata: object) -> None:
    """The same file with a weight missing, or other metadata, and an honest digest."""
    found = artifact.read(path, "mean")
    kept = {name: value for name, value in found.tensors.items() if name != drop}
    artifact.write(path, "mean", kept, {**found.metadata, **metadata})


def test_missing_weight_is_named(tmp_path: Path) -> None:
    saved(path := tmp_path / "mean.safetensors")
    rewritten(path, drop="time_embed.0.bias")
    with pytest.raises(
        InputError, match=r"mean\.safetensors do not fit their own configuration: .*time_embed\.0\.bias"
    ):
        load_mean(path)


def test_surplus_weight_is_named(tmp_path: Path) -> None:
    model, _ = saved(path := tmp_path / "mean.safetensors")
    artifact.write(
        path, "mean", {**model.network.state_dict(), "module.extra": torch.ones(1)}, {**SPEC.as_dict(), "training": {}}
    )
    with pytest.raises(InputError, match=r"module\.extra"):
        load_mean(path)


def test_configuration_of_another_network(tmp_path: Path) -> None:
    saved(path := tmp_path / "mean.safetensors")
    rewritten(path, network=replace(NETWORK, channels=16).as_dict())
    with pytest.raises(
        InputError, match=r"do not fit their own configuration: it asks for 190,947 numbers, and there are [\d,]+$"
    ):
        load_mean(path)


@pytest.mark.parametrize(
    "metadata",
    [
        {"network": {"channels": 8}},
        {"network": {**NETWORK.as_dict(), "turbo": True}},
        {"network": {**NETWORK.as_dict(), "heads": 3}},
        {"time": {"shift": 1}},
        {"schedule": {"name": "sigmoid", "T": 40}},
        {"data": {"channels": 3}},
        {"precision": "fp8"},
        {"predicts": "score"},
    ],
    ids=lambda metadata: next(iter(metadata)),
)
def test_headers_that_describe_no_model(tmp_path: Path, metadata: dict[str, object]) -> None:
    saved(path := tmp_path / "mean.safetensors")
    rewritten(path, **metadata)
    refusal = r".*mean\.safetensors lacks what this diffcov needs \(.*\)"
    with pytest.raises(InputError, match="not a noise schedule" if "schedule" in metadata else refusal):
        load_mean(path)


def test_a_submodule_that_is_not_there(tmp_path: Path) -> None:
    saved(path := tmp_path / "mean.safetensors")
    rewritten(path, features="input_blocks.9")
    with pytest.raises(InputError, match=r"no submodule 'input_blocks\.9'; it has time_embed, .*input_blocks\.1"):
        load_mean(path)


@pytest.mark.parametrize("missing", ["network", "schedule", "data", "time", "precision"])
def test_missing_header_entries(tmp_path: Path, missing: str) -> None:
    saved(path := tmp_path / "mean.safetensors")
    found = artifact.read(path, "mean")
    del found.metadata[missing]
    artifact.write(path, "mean", found.tensors, found.metadata)
    with pytest.raises(InputError, match=rf".*mean\.safetensors lacks .*\('{missing}'\)"):
        load_mean(path)


def test_nan_weight_is_named(tmp_path: Path) -> None:
    model, _ = saved(path := tmp_path / "mean.safetensors")
    with torch.no_grad():
        model.network.time_embed[0].bias[0] = torch.nan
    save_mean(path, model.network, SPEC, TRAINING)
    with pytest.raises(NonFiniteError, match=r"NaN or infinity in time_embed\.0\.bias"):
        load_mean(path)
