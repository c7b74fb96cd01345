"""What a mean model is: the same spec from its own words, the same model from the same spec."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from diffcov.data import DataDescription
from diffcov.denoiser.network import PRECISIONS, TimeConvention
from diffcov.denoiser.spec import MeanSpec
from diffcov.diffusion.schedule import FAMILIES, NoiseSchedule
from diffcov.errors import UsageError
from diffcov.nets.unet import UNet, UNetConfig

DATA = DataDescription(1, 8, 4, levels=17, low=-2.0, high=2.0)
NETWORK = UNetConfig(1, 8, 4, channels=8, multipliers=(1, 2), blocks=1, attention=(2,), heads=2, dropout=0.5)
SPEC = MeanSpec(NETWORK, NoiseSchedule.cosine(40), DATA, TimeConvention(offset=1.0, scale=25.0))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "custom"])
def test_words_survive_json(family: str, precision: str) -> None:
    spec = replace(SPEC, schedule=FAMILIES[family](40), precision=precision)
    assert MeanSpec.from_dict(json.loads(json.dumps(spec.as_dict()))) == spec


def test_words_beside_it_are_ignored() -> None:
    """A header also says how the model was trained."""
    assert MeanSpec.from_dict({**SPEC.as_dict(), "training": {"iterations": 3}}) == SPEC


@pytest.mark.parametrize("precision", PRECISIONS)
def test_wrap_puts_a_trunk_as_it_is_into_its_surroundings(precision: str) -> None:
    trunk = UNet(NETWORK)
    model = replace(SPEC, precision=precision).wrap(trunk)
    assert model.trunk is trunk
    assert (model.schedule, model.data, model.time) == (SPEC.schedule, DATA, SPEC.time)
    assert model.autocast == PRECISIONS[precision]


def test_build_wraps_a_new_trunk() -> None:
    torch.manual_seed(0)
    built = SPEC.build()
    torch.manual_seed(0)
    wrapped = SPEC.wrap(UNet(NETWORK))
    assert built.trunk.config == NETWORK
    assert built.state_dict().keys() == wrapped.state_dict().keys()
    assert all(torch.equal(value, wrapped.state_dict()[name]) for name, value in built.state_dict().items())
    assert SPEC.build().trunk is not SPEC.build().trunk


@pytest.mark.parametrize("missing", ["network", "schedule", "data", "time", "precision"])
def test_missing_words(missing: str) -> None:
    words = {name: value for name, value in SPEC.as_dict().items() if name != missing}
    with pytest.raises(KeyError, match=missing):
        MeanSpec.from_dict(words)


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        ({"network": {"channels": 8}}, TypeError, "missing"),
        ({"network": {**NETWORK.as_dict(), "turbo": True}}, TypeError, "turbo"),
        ({"network": {**NETWORK.as_dict(), "heads": 3}}, UsageError, "3 attention heads"),
        ({"time": {"shift": 1}}, TypeError, "shift"),
        ({"data": {"channels": 3}}, TypeError, "missing"),
        ({"precision": "fp8"}, KeyError, "fp8"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_words_that_say_nothing_known(words: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        MeanSpec.from_dict({**SPEC.as_dict(), **words})


def test_a_precision_that_does_not_exist() -> None:
    with pytest.raises(KeyError, match="fp8"):
        replace(SPEC, precision="fp8")
