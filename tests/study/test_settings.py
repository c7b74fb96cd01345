"""Settings: flat, complete, plain values from which the same training is rebuilt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from diffcov.covariance import registry
from diffcov.data import DataDescription
from diffcov.denoiser.spec import MeanSpec
from diffcov.denoiser.time import TimeConvention
from diffcov.engines.training.config import TrainingConfig
from diffcov.engines.training.presets import HEAD, HEAD_ARCHITECTURE, PRESETS
from diffcov.errors import UsageError
from diffcov.study.settings import (
    HEAD_SHAPE_FIELDS,
    SHAPE_FIELDS,
    canonical_head_options,
    head_settings,
    mean_settings,
    mean_spec,
    training_config,
)

DIGITS = DataDescription(1, 8, 8, levels=17)


def settings(**given: Any) -> dict[str, Any]:
    return mean_settings({"data": "digits", **given}, DIGITS, gpu=False)


def heads(mean: dict[str, Any] | None = None, **given: Any) -> dict[str, Any]:
    return head_settings(given, mean or {}, "abc")


def test_nothing_given_is_the_preset_in_full() -> None:
    found = settings()
    preset = PRESETS["digits"]
    assert (found["preset"], found["schedule"], found["timesteps"], found["limit"]) == ("digits", "linear", 1000, None)
    assert training_config(found) == preset.training
    spec = mean_spec(found, DIGITS)
    assert (spec.network.channels, spec.network.multipliers) == (32, (1, 2))
    assert spec.reading.data == DIGITS


def test_settings_survive_json_and_rebuild_the_same_model() -> None:
    found = settings(schedule="cosine", timesteps=40, attention=[], multipliers=[1, 2, 2])
    again = json.loads(json.dumps(found))
    assert again == found
    assert mean_spec(again, DIGITS) == mean_spec(found, DIGITS)
    assert MeanSpec.from_dict(json.loads(json.dumps(mean_spec(found, DIGITS).as_dict()))) == mean_spec(found, DIGITS)
    assert training_config(again) == training_config(found)


@pytest.mark.parametrize(
    ("name", "value"),
    [("channels", 16), ("blocks", 1), ("dropout", 0.25), ("lr", 3e-4), ("batch_size", 7), ("flip", True),
     ("seed", 5), ("precision", "bf16"), ("timesteps", 33), ("schedule", "vp"), ("multipliers", [1]),
     ("attention", []), ("scale_shift", False), ("ema_decay", 0.5), ("limit", 9), ("predict", "v"), ("classes", 10)],
)  # fmt: skip
def test_each_given_setting_wins_and_moves_no_other(name: str, value: object) -> None:
    expected = {**settings(), name: value}
    if name == "multipliers":
        expected["attention"] = []
    assert settings(**{name: value}) == expected


def test_a_named_preset_wins_over_the_size() -> None:
    found = settings(preset="mnist")
    assert found["preset"] == "mnist"
    assert training_config(found) == PRESETS["mnist"].training


@pytest.mark.parametrize("timesteps", [30, 1000, 4000])
def test_the_network_sees_times_from_0_to_1000(timesteps: int) -> None:
    time = mean_spec(settings(timesteps=timesteps), DIGITS).reading.time
    assert time == TimeConvention(offset=1.0, scale=1000 / timesteps)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"timesteps": 0}, "--timesteps 0: a noise schedule needs T >= 1, found 0"),
        ({"timesteps": 20}, "--timesteps 20: the linear schedule with T=20.*use T > 20 or the cosine schedule"),
        ({"lr": -1.0}, "--lr must be a positive number, found -1"),
        ({"batch_size": 0}, "--batch-size must be at least 1, found 0"),
        ({"multipliers": [1, 1, 1, 1, 1]}, "8x8 .* use --multipliers 1,1,1,1"),
        ({"dropout": 2.0}, "dropout"),
        ({"heads": 5}, "5 attention heads"),
        ({"predict": "noise"}, "a network predicts eps, v, x0; found 'noise'"),
        ({"label_dropout": 1.0, "classes": 10}, r"--label-dropout must be in \[0, 1\), found 1.0"),
        ({"label_dropout": -0.1, "classes": 10}, r"--label-dropout must be in \[0, 1\), found -0.1"),
        ({"label_dropout": 0.1}, "--label-dropout leaves labels out, and there are none without --classes"),
    ],
)
def test_refusals(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        settings(**given)


@pytest.mark.parametrize("predicts", ["eps", "v", "x0"])
def test_what_the_network_predicts_is_how_it_is_read(predicts: str) -> None:
    assert mean_spec(settings(predict=predicts), DIGITS).reading.predicts == predicts


def test_a_mean_that_always_saw_labels_needs_them() -> None:
    for dropout, needs in ((0.0, True), (0.1, False)):
        reading = mean_spec(settings(classes=10, label_dropout=dropout), DIGITS).reading
        assert (reading.classes, reading.needs_labels) == (10, needs)
    plain = mean_spec(settings(), DIGITS).reading
    assert (plain.classes, plain.needs_labels) == (0, False)


def test_settings_of_an_earlier_version_are_what_they_were_then() -> None:
    found = settings()
    earlier = {name: value for name, value in found.items() if name not in ("predict", "label_dropout", "classes")}
    assert mean_spec(earlier, DIGITS) == mean_spec(found, DIGITS)


def test_shapes_cannot_change_on_resuming_and_the_rest_can() -> None:
    assert set(settings()) - SHAPE_FIELDS == {
        "dropout",
        "label_dropout",
        "compile",
        "layout",
        *TrainingConfig().as_dict(),
    }
    assert set(heads()) - HEAD_SHAPE_FIELDS == {"compile", "layout", *TrainingConfig().as_dict()}


def test_heads_take_all_kinds_that_need_no_curvature() -> None:
    found = heads()
    assert found["kind"] == ["npr", "sn", "banded"]
    assert set(registry.heads()) - set(found["kind"]) == {"ocm"}
    assert found["loss"] is None, "each kind's own"
    assert found["trunk"] == "abc"
    assert found["head"] == HEAD_ARCHITECTURE
    assert training_config(found) == HEAD


def test_heads_see_images_as_their_trunk_did_unless_told_otherwise() -> None:
    mean = {**settings(), "flip": True, "precision": "bf16", "lr": 9.0, "seed": 77}
    found = heads(mean)
    assert (found["flip"], found["precision"]) == (True, "bf16")
    assert (found["lr"], found["seed"]) == (HEAD.lr, HEAD.seed)
    assert heads(mean, flip=False)["flip"] is False


def test_heads_are_fitted_on_the_plain_mean_unless_told_otherwise() -> None:
    assert heads()["guidance"] == 1.0
    assert heads(guidance=2.0) == {**heads(), "guidance": 2.0}
    assert "guidance" in HEAD_SHAPE_FIELDS, "a head of another guidance is another head"


def test_kinds_are_checked_and_asked_twice_means_once() -> None:
    given = canonical_head_options({"kind": ["sn", "npr", "sn"], "lr": 0.5})
    assert given == {"kind": ["npr", "sn"], "lr": 0.5}
    assert heads(**given)["kind"] == ["npr", "sn"]
    assert canonical_head_options({"kind": ["sn"]}) == {"kind": ["sn"]}
    assert canonical_head_options({"kind": ["banded", "ocm", "npr"]}) == {"kind": ["npr", "ocm", "banded"]}
    assert canonical_head_options({}) == {}
    with pytest.raises(UsageError, match="no head of kind 'analytic'; choose from npr, sn, ocm, banded"):
        canonical_head_options({"kind": ["npr", "analytic"]})


def test_a_loss_that_was_asked_for_is_kept_and_leaves_out_what_it_does_not_fit() -> None:
    """By squared error the kinds that are published so; nothing else moves."""
    expected = {**heads(), "loss": "squared", "kind": ["npr", "sn"]}
    assert heads(loss="squared") == expected
    assert json.loads(json.dumps(expected)) == expected


def test_data_of_a_fit_is_stored_by_its_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert canonical_head_options({"data": "pictures"}) == {"data": str(tmp_path / "pictures")}
    assert canonical_head_options({"data": "digits"}) == {"data": "digits"}
