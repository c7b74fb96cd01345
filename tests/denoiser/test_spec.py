"""What a mean model is: the same spec from its own words, the same model from the same spec."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from diffcov.data import DataDescription
from diffcov.denoiser.mean_model import PRECISIONS, MeanModel
from diffcov.denoiser.parametrisation import PARAMETRISATIONS
from diffcov.denoiser.reading import Reading
from diffcov.denoiser.spec import MeanSpec
from diffcov.denoiser.time import TimeConvention
from diffcov.diffusion.schedule import FAMILIES, NoiseSchedule
from diffcov.errors import UsageError
from diffcov.nets.built_by import BuiltBy
from diffcov.nets.unet import UNet, UNetConfig

DATA = DataDescription(1, 8, 4, levels=17, low=-2.0, high=2.0)
NETWORK = UNetConfig(1, 8, 4, channels=8, multipliers=(1, 2), blocks=1, attention=(2,), heads=2, dropout=0.5)
READING = Reading(NoiseSchedule.cosine(40), DATA, TimeConvention(offset=1.0, scale=25.0))
SPEC = MeanSpec(NETWORK, READING)
SCHEDULES = {name: family(40) for name, family in FAMILIES.items() if name not in ("betas", "custom")}
SCHEDULES |= {"betas": NoiseSchedule.from_betas([0.1, 0.5, 1.0]), "custom": NoiseSchedule.from_alpha_bar([0.7, 0.1])}


def through_json(spec: MeanSpec) -> MeanSpec:
    return MeanSpec.from_dict(json.loads(json.dumps(spec.as_dict())))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_words_survive_json(family: str, precision: str) -> None:
    spec = replace(SPEC, reading=replace(READING, schedule=SCHEDULES[family]), precision=precision)
    assert through_json(spec) == spec


@pytest.mark.parametrize("predicts", PARAMETRISATIONS)
def test_what_it_predicts_its_classes_and_where_heads_read_survive_json(predicts: str) -> None:
    reading = replace(READING, predicts=predicts, classes=4, needs_labels=True)
    spec = MeanSpec(replace(NETWORK, classes=4), reading, features="middle_block.0")
    assert through_json(spec) == spec


def test_a_network_that_somebody_s_function_builds_survives_json() -> None:
    spec = replace(SPEC, network=BuiltBy("somebody.nets:make", {"width": 8, "levels": [1, 2]}))
    again = through_json(spec)
    assert again == spec
    assert again.as_dict() == spec.as_dict()


def test_words_beside_it_are_ignored() -> None:
    """A header also says how the model was trained."""
    assert MeanSpec.from_dict({**SPEC.as_dict(), "training": {"iterations": 3}}) == SPEC


def test_words_of_the_version_before_are_understood() -> None:
    """It knew the noise alone, no classes, and one place to read features at."""
    later = {"predicts", "classes", "needs_labels", "features"}
    words = {name: value for name, value in SPEC.as_dict().items() if name not in later}
    words["network"] = {name: value for name, value in words["network"].items() if name != "classes"}
    assert MeanSpec.from_dict(json.loads(json.dumps(words))) == SPEC


@pytest.mark.parametrize("precision", PRECISIONS)
def test_wrap_puts_a_network_as_it_is_into_its_surroundings(precision: str) -> None:
    network = UNet(NETWORK)
    model = replace(SPEC, precision=precision, features="middle_block.2").wrap(network)
    assert model.network is network
    assert (model.schedule, model.data, model.reading) == (READING.schedule, DATA, READING)
    assert model.autocast == PRECISIONS[precision]
    assert model.tapped_at == "middle_block.2"


def test_build_wraps_a_new_network() -> None:
    torch.manual_seed(0)
    built = SPEC.build()
    torch.manual_seed(0)
    wrapped = SPEC.wrap(UNet(NETWORK))
    assert built.network.config == NETWORK
    assert built.state_dict().keys() == wrapped.state_dict().keys()
    assert all(torch.equal(value, wrapped.state_dict()[name]) for name, value in built.state_dict().items())
    assert SPEC.build().network is not SPEC.build().network


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_spec_of_a_model_names_who_builds_its_network(precision: str) -> None:
    model = MeanModel(UNet(NETWORK), READING, "middle_block.0", PRECISIONS[precision])
    found = MeanSpec.of(model, "somebody.nets:make", {"width": 8})
    expected = MeanSpec(BuiltBy("somebody.nets:make", {"width": 8}), READING, precision, "middle_block.0")
    assert found == expected


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
        ({"network": {"builder": "make", "arguments": {}}}, UsageError, "package.module:function, found 'make'"),
        ({"time": {"shift": 1}}, TypeError, "shift"),
        ({"data": {"channels": 3}}, TypeError, "missing"),
        ({"predicts": "score"}, UsageError, "predicts eps, v, x0; found 'score'"),
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
