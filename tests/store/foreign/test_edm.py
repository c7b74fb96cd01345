"""Pickles of EDM: read with their program left alone, and answering what NVIDIA's own code answers."""

from __future__ import annotations

import math
import os
import pickle
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from diffcov.denoiser.mean_model import MeanModel
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import InputError
from diffcov.nets.built_by import BuiltBy
from diffcov.store.foreign.facts import Foreign, Meaning
from diffcov.store.foreign.recognise import read_foreign
from diffcov.store.foreign.torch_files import read_torch_file
from diffcov.study.reading_bench import built
from oracles.edm import Persisted, persisted, their_modules, written
from oracles.edm_cases import CASES, EXPECTED, LABELS, TIMES, images, snapshot, state

PARITY = 1e-5
"""Of x0_hat, relative to its largest value, where ours computes in float32; theirs is in float64."""


def read(name: str, folder: Path) -> Foreign:
    return read_foreign(snapshot(name, folder))


def mean_of(name: str, folder: Path) -> MeanModel:
    found = read(name, folder)
    return built(found, found.meaning)


def noisy(mean: MeanModel, t: int, sigma: float) -> Tensor:
    """(x_0 + sigma eps) as x_t, in float64."""
    x_0, eps = (one.double() for one in images())
    return (x_0 + sigma * eps) * mean.schedule.alpha_bar[t].sqrt()


@pytest.mark.parametrize("name", CASES)
def test_the_image_is_that_of_their_code(name: str, tmp_path: Path) -> None:
    """At the noise levels of their formulas, through a pickle of their structure; in float64 to the file's digits."""
    mean, expected = mean_of(name, tmp_path), np.load(EXPECTED)
    labels = LABELS if CASES[name].classes else None
    for dtype, parity in ((torch.float32, PARITY), (torch.float64, 2e-7)):
        mean.to(dtype)
        for t, sigma, theirs in zip(TIMES, expected[f"{name} sigma"], expected[name], strict=True):
            level = float(mean.schedule.ratio[t].sqrt())
            assert level == pytest.approx(sigma, rel=1e-9)
            found = mean.look(noisy(mean, t, level), t, labels).x0_hat.float()
            torch.testing.assert_close(
                found, torch.from_numpy(theirs), rtol=0, atol=parity * float(np.abs(theirs).max())
            )


@pytest.mark.parametrize("name", CASES)
def test_nothing_of_the_program_is_run(name: str, tmp_path: Path) -> None:
    read(name, tmp_path)
    assert not (tmp_path / "was-run").exists()


def test_the_program_would_have_run_otherwise(tmp_path: Path) -> None:
    """What travels in the test's file is what theirs would execute."""
    held = read_torch_file(snapshot("ddpmpp-vp", tmp_path))
    source = held["ema"].arguments[0]["module_src"]
    exec(source, {})
    assert (tmp_path / "was-run").read_text() == "was run"


@pytest.mark.parametrize("name", CASES)
def test_every_weight_is_read_but_those_of_the_augmentation(name: str, tmp_path: Path) -> None:
    expected = {key: value for key, value in state(name).items() if "map_augment" not in key}
    found = read(name, tmp_path).weights
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], value) for key, value in expected.items())


@pytest.mark.parametrize(
    ("name", "schedule", "predicts"),
    [
        ("ddpmpp-edm", {"name": "edm", "T": 1000, "sigma_min": 0.002, "sigma_max": 80.0, "rho": 7.0}, "v"),
        ("ncsnpp-ve", {"name": "edm", "T": 1000, "sigma_min": 0.02, "sigma_max": 80.0, "rho": 7.0}, "eps"),
        ("ddpmpp-vp", {"name": "vp", "T": 1000, "beta_min": 0.1, "beta_max": 20.0}, "eps"),
        ("adm-iddpm", {"name": "cosine", "T": 1000, "offset": 0.008}, "eps"),
    ],
)
def test_the_preconditioning_says_schedule_and_prediction(
    name: str, schedule: dict[str, Any], predicts: str, tmp_path: Path
) -> None:
    found = read(name, tmp_path)
    reading = found.meaning.reading
    assert (reading.schedule.spec, reading.predicts) == (schedule, predicts)
    assert (reading.classes, reading.needs_labels) == (0, False)
    assert (reading.data.shape, reading.data.low, reading.data.high) == ((3, 8, 8), -1.0, 1.0)
    facts = {fact.name: fact.value for fact in found.facts}
    assert CASES[name].kind in facts["preconditioning"]
    assert "its average" in facts["network"]
    assert facts["schedule"].startswith(f"{schedule['name']}, T=1000, sigma ")


@pytest.mark.parametrize(("dropout", "needs"), [(0, True), (0.1, False)])
def test_labels_are_needed_unless_the_network_has_seen_images_without(
    dropout: float, needs: bool, tmp_path: Path
) -> None:
    case = CASES["ddpmpp-edm-classes"]
    config = {**case.whole, "label_dropout": dropout}
    network = persisted(case.kind, case.unet, state("ddpmpp-edm-classes"), tmp_path / "m", config, **case.numbers)
    reading = read_foreign(written(network, tmp_path / "a.pkl")).meaning.reading
    assert (reading.classes, reading.needs_labels) == (3, needs)


def test_a_training_state_gives_its_raw_weights(tmp_path: Path) -> None:
    case = CASES["ddpmpp-edm"]
    network = persisted(case.kind, case.unet, state("ddpmpp-edm"), tmp_path / "m", case.whole, **case.numbers)
    with their_modules():
        torch.save({"net": network, "optimizer_state": {"state": {}}}, tmp_path / "training-state-000003.pt")
    found = read_foreign(tmp_path / "training-state-000003.pt")
    assert "the raw weights of a training state" in found.facts[0].value
    assert torch.equal(found.weights["model.map_layer0.bias"], state("ddpmpp-edm")["model.map_layer0.bias"])


# --- other noise levels


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.kind != "iDDPMPrecond"])
def test_a_network_is_one_of_sigma_and_takes_any_schedule(name: str, tmp_path: Path) -> None:
    """At the levels of the asset as a schedule of four, theirs still says what it said."""
    found, expected = read(name, tmp_path), np.load(EXPECTED)
    schedule = NoiseSchedule.from_alpha_bar(1 / (1 + expected[f"{name} sigma"] ** 2))
    network = found.meaning.network
    assert isinstance(network, BuiltBy)
    moved = replace(network, arguments={**network.arguments, "schedule": schedule.spec})
    mean = built(found, Meaning(moved, replace(found.meaning.reading, schedule=schedule)))
    for t, (sigma, theirs) in enumerate(zip(expected[f"{name} sigma"], expected[name], strict=True), start=1):
        labels = LABELS if CASES[name].classes else None
        answer = mean.look(noisy(mean, t, sigma), t, labels).x0_hat.float()
        torch.testing.assert_close(answer, torch.from_numpy(theirs), rtol=0, atol=PARITY * float(np.abs(theirs).max()))


@pytest.mark.parametrize(
    ("name", "family", "T"), [("ddpmpp-edm", "edm", 200), ("ddpmpp-vp", "vp", 50), ("ncsnpp-ve", "linear", 1000)]
)
def test_another_schedule_is_told_to_the_network_too(name: str, family: str, T: int, tmp_path: Path) -> None:
    found = read(name, tmp_path)
    meaning = found.scheduled(found.meaning, family, T)
    assert (meaning.reading.schedule.name, meaning.reading.schedule.T) == (family, T)
    assert meaning.network.as_dict()["arguments"]["schedule"] == meaning.reading.schedule.spec


@pytest.mark.parametrize(("family", "T", "words"), [("cosine", 500, "leave out --timesteps"), ("linear", 1000, "")])
def test_iddpm_knows_its_own_levels_alone(family: str, T: int, words: str, tmp_path: Path) -> None:
    found = read("adm-iddpm", tmp_path)
    with pytest.raises(InputError, match=r"an iDDPM network knows .* own .* alone; leave out --") as refusal:
        built(found, found.scheduled(found.meaning, family, T))
    assert words in str(refusal.value)


# --- what is refused


def changed(tmp_path: Path, case: str = "ddpmpp-edm", **changes: Any) -> str:
    """What is said of a case with other arguments of its network."""
    known = CASES[case]
    network = persisted(
        known.kind, known.unet, state(case), tmp_path / "was-run", {**known.whole, **changes}, **known.numbers
    )
    path = written(network, tmp_path / "a.pkl")
    with pytest.raises(InputError) as refusal:
        found = read_foreign(path)
        built(found, found.meaning)
    assert not (tmp_path / "was-run").exists()
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 500
    return str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoder_type": "skip"}, "has encoder_type skip, which is not read yet; known are standard, residual"),
        ({"decoder_type": "skip"}, "has decoder_type skip, which is not read yet; known are standard"),
        ({"wavelets": True}, "was made with wavelets = True, which is not read"),
        ({"channel_mult": "1,2"}, "was made with channel_mult = 1,2, which is not read"),
        ({"model_channels": 24}, "other weights than its arguments say, such as model.dec.4x4_block0.affine.bias"),
        ({"model_channels": 10**6}, "(32,) and should be (2000000,); it is damaged, or of another version"),
        ({"num_blocks": 2}, "such as model.dec.4x4_block1.conv0.weight, which is (32, 48, 3, 3) and should be (32, 64"),
        ({"label_dim": 3}, "such as model.map_label.bias, which is not there and should be (16,)"),
        ({"model_channels": 2}, "no network of EDM is made of this"),
        ({"img_resolution": "8"}, "was made with img_resolution = 8"),
        ({"num_blocks": True}, "was made with num_blocks = True, which is not read"),
        ({"num_blocks": 10**6}, "made of 146 weights, and its arguments say 2 levels of 1000000 blocks: it is damaged"),
        ({"channel_mult": [1] * 10**5}, "and its arguments say 100000 levels of 1 blocks: it is damaged"),
        ({"channel_mult": []}, "no network of EDM is made of this: IndexError"),
        ({"model_channels": 16.0}, "no network of EDM is made of this: TypeError"),
        ({"model_channels": 10**30}, "no network of EDM is made of this: "),
        ({"label_dropout": "much"}, "was made with label_dropout = much, which is not read"),
        ({"encoder_type": "a\nb" * 10**6}, r"has encoder_type a\nba\nb"),
        ({"encoder_type": ["standard"]}, "has encoder_type ['standard'], which is not read yet"),
        ({"wave\nlets" * 10**5: 1}, r"was made with wave\nletswave"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_networks_of_another_kind_are_named(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    assert words in changed(tmp_path, **changes)


def refusal(values: Any, path: Path) -> str:
    with their_modules(), path.open("wb") as file:
        pickle.dump(values, file)
    with pytest.raises(InputError) as found:
        read_foreign(path)
    assert str(found.value).startswith((f"{path}: ", f"{path} wants to call "))
    return str(found.value)


def test_other_persisted_objects_are_named(tmp_path: Path) -> None:
    path, source = tmp_path / "a.pkl", "raise SystemExit"
    whole = {"G": Persisted("Generator", source), "D": Persisted("Discriminator", source)}
    assert "it holds G (Generator), D (Discriminator), and no denoiser of EDM" in refusal(whole, path)
    message = refusal({"ema": Persisted("Precond", source)}, path)
    assert (
        "its network is a Precond, which is not read; known are VPPrecond, VEPrecond, iDDPMPrecond, EDMPrecond"
        in message
    )
    other = Persisted("EDMPrecond", source)
    other.model = Persisted("UNet", source)
    other.sigma_data = other.sigma_min = other.sigma_max = 0.5
    assert "its network is a UNet, which is not read; known are SongUNet, DhariwalUNet" in refusal(other, path)
    del other.sigma_data
    assert "its EDMPrecond does not say its sigma_data" in refusal(other, path)
    other.sigma_data = 0.5
    other.model = Persisted("SongUNet", source, 8, 3, 3)
    assert "its SongUNet does not say by name what it was made with" in refusal(other, path)
    other.model = Persisted("SongUNet", source, model_channels=8)
    assert "its SongUNet does not say its img_resolution and in_channels and out_channels" in refusal(other, path)


def test_another_largest_beta_is_refused(tmp_path: Path) -> None:
    case = CASES["adm-iddpm"]
    numbers = {**case.numbers, "C_1": 0.01}
    network = persisted(case.kind, case.unet, state("adm-iddpm"), tmp_path / "m", case.whole, **numbers)
    with pytest.raises(InputError, match=r"iDDPM network with C_1 = 0.01 is not read; those with 0.001 are"):
        read_foreign(written(network, tmp_path / "a.pkl"))


@pytest.mark.parametrize(
    ("case", "number", "value", "words"),
    [
        ("ddpmpp-edm", "sigma_data", math.nan, "its EDMPrecond has sigma_data = nan, which no network of EDM has"),
        ("ddpmpp-edm", "sigma_data", 10**400, "which no network of EDM has"),
        ("ddpmpp-edm", "sigma_data", 0, "needs data of a standard deviation above 0, found 0"),
        ("ddpmpp-edm", "sigma_min", math.nan, "its EDMPrecond has sigma_min = nan"),
        ("ddpmpp-edm", "sigma_min", 100, "needs 0 < sigma_min < sigma_max and rho > 0, found 100, 80"),
        ("ddpmpp-edm", "sigma_data", True, "its EDMPrecond does not say its sigma_data"),
        ("ddpmpp-vp", "beta_d", 0, "a VP network's beta grows from beta_min by beta_d > 0, found 0.1 and 0"),
        ("ddpmpp-vp", "beta_min", -1, "a VP network's beta grows from beta_min by beta_d > 0, found -1 and 19.9"),
        ("ddpmpp-vp", "M", 10**12, "its VPPrecond has M = 1000000000000, which no network of EDM has"),
        (
            "adm-iddpm",
            "M",
            10**9,
            "has 1 to 100,000 noise levels and an offset C_2 of at least 0, found M = 1000000000",
        ),
        ("adm-iddpm", "M", 100_001, "found M = 100001 and C_2 = 0.008"),
        ("adm-iddpm", "M", 0, "found M = 0 and C_2 = 0.008"),
        ("adm-iddpm", "M", 10.5, "found M = 10.5 and C_2 = 0.008"),
        ("adm-iddpm", "M", math.inf, "its iDDPMPrecond has M = inf"),
        ("adm-iddpm", "C_2", -1, "found M = 1000 and C_2 = -1"),
    ],
)
def test_numbers_that_no_preconditioning_has_are_refused_before_memory_is_taken(
    case: str, number: str, value: Any, words: str, tmp_path: Path
) -> None:
    known = CASES[case]
    numbers = {**known.numbers, number: value}
    network = persisted(known.kind, known.unet, state(case), tmp_path / "was-run", known.whole, **numbers)
    with pytest.raises(InputError) as refusal:
        read_foreign(written(network, tmp_path / "a.pkl"))
    assert words in str(refusal.value)
    assert not (tmp_path / "was-run").exists()


def test_a_network_without_modules_is_named(tmp_path: Path) -> None:
    path, other = tmp_path / "a.pkl", Persisted("EDMPrecond", "raise SystemExit")
    other.__dict__["_modules"] = [1]
    assert "its EDMPrecond holds no network, which is called model; it is damaged" in refusal({"ema": other}, path)
    message = refusal({"ema": Persisted("Pre\ncond" * 1000, "raise SystemExit")}, path)
    assert r"its network is a Pre\ncondPre\ncond" in message
    assert len(message) < 500


def test_modules_within_modules_end_somewhere(tmp_path: Path) -> None:
    """Each is in the one before, which is said last, so that no pickle is deep."""
    made: list[nn.ModuleDict] = [nn.ModuleDict() for _ in range(150)]
    for outer, inner in pairwise(made):
        outer._modules["a"] = inner
    case = CASES["ddpmpp-edm"]
    whole = Persisted(case.kind, "raise SystemExit")
    whole.__dict__.update(case.numbers)
    whole.model = Persisted(case.unet, "raise SystemExit", **case.whole)
    whole.model.deep = made[0]
    assert "is one of modules within modules, 100 deep" in refusal({"ema": whole}, tmp_path / "a.pkl")


def test_a_file_that_is_cut_off_or_planted_with_a_call_is_refused(tmp_path: Path) -> None:
    """Wherever it ends, and whatever is called instead of what makes a tensor or a module."""
    whole = snapshot("ddpmpp-edm", tmp_path).read_bytes()
    for end in range(0, len(whole) - 1, len(whole) // 40):
        path = tmp_path / "cut.pkl"
        path.write_bytes(whole[:end])
        with pytest.raises(InputError, match=r"cut\.pkl"):
            read_foreign(path)
    for name in (b"_reconstruct_persistent_obj", b"_load_from_bytes"):
        planted = tmp_path / "planted.pkl"
        planted.write_bytes(whole.replace(name, name[:-1] + b"_"))
        with pytest.raises(InputError, match=r"planted\.pkl wants to call torch.*_: .* nothing was run"):
            read_foreign(planted)
    assert not (tmp_path / "was-run").exists()


class Touches:
    """A call that a pickle could hold."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("place", ["dataset_kwargs", "attribute", "argument", "weight"])
def test_a_call_among_what_a_snapshot_holds_is_not_made(place: str, tmp_path: Path) -> None:
    case, planted = CASES["ddpmpp-edm"], Touches(tmp_path / "was-run")
    config = {**case.whole, "dropout": planted} if place == "argument" else case.whole
    network = persisted(case.kind, case.unet, state("ddpmpp-edm"), tmp_path / "was-run", config, **case.numbers)
    if place == "attribute":
        network.planted = planted
    if place == "weight":
        network.model._buffers["planted"] = planted
    values = {"ema": network, **({"dataset_kwargs": planted} if place == "dataset_kwargs" else {})}
    message = refusal(values, tmp_path / "a.pkl")
    assert "wants to call posix.system: a checkpoint that runs programs is not opened, and nothing was run" in message
    assert not (tmp_path / "was-run").exists()


def test_a_module_within_itself_is_refused(tmp_path: Path) -> None:
    """Every module is visited once, so that no file makes the reader go on for ever."""
    source = "raise SystemExit"
    case = CASES["ddpmpp-edm"]
    whole = Persisted(case.kind, source)
    whole.__dict__.update(case.numbers)
    whole.model = Persisted(case.unet, source, **case.whole)
    whole.model.enc = whole.model.again = torch.nn.ModuleDict()
    assert "its module model.again is there twice" in refusal({"ema": whole}, tmp_path / "a.pkl")


def test_sigma_is_infinite_nowhere(tmp_path: Path) -> None:
    """Their default has no largest level; what is written down is JSON."""
    arguments = read("ddpmpp-edm", tmp_path).meaning.network.as_dict()["arguments"]
    assert math.isfinite(arguments["numbers"]["sigma_max"])
