"""Mean models on disk: the same predictions, bit for bit, or a refusal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from diffcov.data import DataDescription
from diffcov.denoiser.network import TimeConvention
from diffcov.denoiser.spec import MeanSpec
from diffcov.diffusion.schedule import FAMILIES, NoiseSchedule
from diffcov.errors import InputError, NonFiniteError
from diffcov.nets.unet import UNetConfig
from diffcov.store import artifact
from diffcov.store.checkpoint import load_mean, save_mean

DATA = DataDescription(3, 8, 4, levels=17)
NETWORK = UNetConfig(3, 8, 4, channels=8, multipliers=(1, 2), blocks=1, attention=(2,), heads=2, dropout=0.5)
SPEC = MeanSpec(NETWORK, NoiseSchedule.cosine(40), DATA, TimeConvention(offset=1.0, scale=25.0))
TRAINING = {"settings": {"lr": 1e-3, "multipliers": [1, 2]}, "iterations": 5, "data": {"source": "x"}}


def saved(path: Path, spec: MeanSpec = SPEC) -> tuple[torch.nn.Module, str]:
    """A model with random weights everywhere (the last layer would start at 0), and its digest."""
    torch.manual_seed(0)
    model = spec.build()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.1)
    return model.eval(), save_mean(path, model.trunk, spec, TRAINING)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("family", ["linear", "cosine", "vp"])
def test_round_trip_predicts_the_same_bits(tmp_path: Path, family: str, precision: str) -> None:
    spec = replace(SPEC, schedule=FAMILIES[family](40), precision=precision)
    model, digest = saved(tmp_path / "mean.safetensors", spec)
    found = load_mean(tmp_path / "mean.safetensors")
    assert (found.spec, found.training, found.digest) == (spec, TRAINING, digest)
    x_t, t = torch.randn(2, 3, 8, 4), torch.tensor([1, 40])
    with torch.no_grad():
        expected = model.predict(x_t, t)
        result = found.model.predict(x_t, t)
    assert torch.equal(result.eps_hat, expected.eps_hat)
    assert torch.equal(result.features.activations, expected.features.activations)
    assert torch.equal(found.model.schedule.alpha_bar, spec.schedule.alpha_bar)
    assert found.model.data == DATA


def test_a_custom_schedule_survives(tmp_path: Path) -> None:
    spec = replace(SPEC, schedule=NoiseSchedule.from_alpha_bar([0.9, 0.5, 0.1 + 0.2, 1e-7]))
    saved(tmp_path / "mean.safetensors", spec)
    found = load_mean(tmp_path / "mean.safetensors")
    assert torch.equal(found.model.schedule.alpha_bar, spec.schedule.alpha_bar)


def test_loaded_models_are_frozen_and_in_eval_mode(tmp_path: Path) -> None:
    saved(tmp_path / "mean.safetensors")
    model = load_mean(tmp_path / "mean.safetensors").model
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_digest_is_that_of_the_weights(tmp_path: Path) -> None:
    model, digest = saved(tmp_path / "a.safetensors")
    other = replace(SPEC, schedule=NoiseSchedule.linear(40))
    assert save_mean(tmp_path / "b.safetensors", model.trunk, other, TRAINING) == digest
    with torch.no_grad():
        next(model.trunk.parameters()).view(-1)[0] += 1e-3
    assert save_mean(tmp_path / "c.safetensors", model.trunk, SPEC, TRAINING) != digest


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
        path, "mean", {**model.trunk.state_dict(), "module.extra": torch.ones(1)}, {**SPEC.as_dict(), "training": {}}
    )
    with pytest.raises(InputError, match=r"module\.extra"):
        load_mean(path)


def test_configuration_of_another_network(tmp_path: Path) -> None:
    saved(path := tmp_path / "mean.safetensors")
    rewritten(path, network=replace(NETWORK, channels=16).as_dict())
    with pytest.raises(InputError, match=r"do not fit their own configuration: .*size mismatch"):
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
    ],
    ids=lambda metadata: next(iter(metadata)),
)
def test_headers_that_describe_no_model(tmp_path: Path, metadata: dict[str, object]) -> None:
    saved(path := tmp_path / "mean.safetensors")
    rewritten(path, **metadata)
    refusal = r".*mean\.safetensors lacks what this diffcov needs \(.*\)"
    with pytest.raises(InputError, match="not a noise schedule" if "schedule" in metadata else refusal):
        load_mean(path)


@pytest.mark.parametrize("missing", ["network", "schedule", "data", "time", "precision", "training"])
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
        model.trunk.time_embed[0].bias[0] = torch.nan
    save_mean(path, model.trunk, SPEC, TRAINING)
    with pytest.raises(NonFiniteError, match=r"NaN or infinity in time_embed\.0\.bias"):
        load_mean(path)
