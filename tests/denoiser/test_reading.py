"""How a network is read: what it is given, what its output may be, and the words that say so."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from diffcov.data import DataDescription
from diffcov.denoiser.parametrisation import PARAMETRISATIONS
from diffcov.denoiser.reading import Reading
from diffcov.denoiser.time import TimeConvention
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.digest import digest_of_values
from diffcov.errors import InputError, UsageError

DATA = DataDescription(2, 4, 3, levels=17)
READING = Reading(NoiseSchedule.linear(50), DATA, TimeConvention(1.0, 20.0))
LABELLED = replace(READING, classes=3)
DOUBLE = torch.float64


def images(count: int = 2) -> Tensor:
    return torch.randn(count, *DATA.shape, generator=torch.Generator().manual_seed(0))


# --- words


@pytest.mark.parametrize("predicts", PARAMETRISATIONS)
@pytest.mark.parametrize(("classes", "needs_labels"), [(0, False), (10, False), (10, True)])
@pytest.mark.parametrize("learned", [False, True])
def test_words_survive_json(predicts: str, classes: int, needs_labels: bool, learned: bool) -> None:
    reading = replace(READING, predicts=predicts, classes=classes, needs_labels=needs_labels, learned_range=learned)
    again = Reading.from_dict(json.loads(json.dumps(reading.as_dict())))
    assert again == reading
    assert again.as_dict() == reading.as_dict()
    assert again.parametrisation is PARAMETRISATIONS[predicts]


def test_a_reading_without_a_learned_range_is_told_as_ever() -> None:
    """So that digests of before stay what they were."""
    assert "learned_range" not in READING.as_dict()
    assert replace(READING, learned_range=True).as_dict()["learned_range"] is True


def test_words_of_the_version_before_are_as_they_were_meant() -> None:
    """It did not write what all its networks had in common: they predict the noise and know no classes."""
    words = {name: value for name, value in READING.as_dict().items() if name in ("schedule", "data", "time")}
    assert Reading.from_dict(json.loads(json.dumps(words))) == READING
    assert (READING.predicts, READING.classes, READING.needs_labels) == ("eps", 0, False)


@pytest.mark.parametrize("missing", ["schedule", "data", "time"])
def test_missing_words(missing: str) -> None:
    words = {name: value for name, value in READING.as_dict().items() if name != missing}
    with pytest.raises(KeyError, match=missing):
        Reading.from_dict(words)


@pytest.mark.parametrize(("offset", "scale", "first"), [(2.0, 1.0, "-1"), (0.0, -1.0, "-1"), (3.0, 10.0, "-20")])
def test_network_times_below_zero_are_refused(offset: float, scale: float, first: str) -> None:
    with pytest.raises(UsageError, match=f"the network's time at t=1 would be {first}, "):
        replace(READING, time=TimeConvention(offset, scale))
    assert replace(READING, time=TimeConvention(1.0, 0.5)).time(torch.tensor([1.0])).item() == 0


def test_an_unknown_parametrisation_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^a network predicts eps, v, x0; found 'score'$"):
        replace(READING, predicts="score")


def test_readings_are_equal_if_all_their_words_are() -> None:
    others = [
        replace(READING, schedule=NoiseSchedule.linear(51)),
        replace(READING, data=replace(DATA, levels=16)),
        replace(READING, time=TimeConvention()),
        replace(READING, predicts="v"),
        LABELLED,
        replace(LABELLED, needs_labels=True),
    ]
    assert replace(READING) == READING
    assert len({READING, *others}) == len(others) + 1


def test_equal_readings_have_equal_digests() -> None:
    """JSON and a user may spell 1.0 as 1."""
    whole = Reading(READING.schedule, DataDescription(2, 4, 3, 17, -1, 1), TimeConvention(1, 20))
    assert whole == READING
    assert digest_of_values(whole.as_dict()) == digest_of_values(READING.as_dict())


# --- what the network is given


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE], ids=str)
def test_images_and_times_are_given_in_the_dtype_of_the_network(dtype: torch.dtype) -> None:
    x, times = READING.inputs(images(), torch.tensor([1, 50]), None, dtype)
    assert (x.dtype, times.dtype) == (dtype, dtype)
    assert torch.equal(x, images().to(dtype))
    assert times.tolist() == [0.0, 980.0]


def test_one_time_is_given_to_every_image() -> None:
    _, times = READING.inputs(images(3), 3, None, torch.float32)
    assert times.tolist() == [40.0, 40.0, 40.0]


def test_no_labels_are_given_to_a_network_without_classes() -> None:
    assert len(READING.inputs(images(), 3, None, torch.float32)) == 2
    with pytest.raises(UsageError, match=r"^this network is unconditional: it takes no class labels$"):
        READING.inputs(images(), 3, torch.zeros(2, dtype=torch.int64), torch.float32)


@pytest.mark.parametrize("needs_labels", [False, True])
def test_labels_are_given_as_they_are(needs_labels: bool) -> None:
    reading = replace(LABELLED, needs_labels=needs_labels)
    cond = torch.tensor([2, 0])
    assert torch.equal(reading.inputs(images(), 3, cond, torch.float32)[2], cond)


def test_images_without_a_label_are_told_as_minus_one() -> None:
    found = LABELLED.inputs(images(3), 3, None, torch.float32)[2]
    assert found.tolist() == [-1, -1, -1]
    assert found.dtype == torch.int64
    mixed = torch.tensor([1, -1])
    assert torch.equal(LABELLED.inputs(images(), 3, mixed, torch.float32)[2], mixed)


def test_a_network_that_has_only_seen_labelled_images_must_have_labels() -> None:
    reading = replace(LABELLED, needs_labels=True)
    with pytest.raises(UsageError, match=r"never seen an image without a label: say which classes are wanted"):
        reading.inputs(images(), 3, None, torch.float32)


@pytest.mark.parametrize(
    ("cond", "found"),
    [
        (torch.zeros(3, dtype=torch.int64), r"torch.int64 \(3,\)"),
        (torch.zeros(2, 1, dtype=torch.int64), r"torch.int64 \(2, 1\)"),
        (torch.zeros(2), r"torch.float32 \(2,\)"),
        (torch.zeros(2, dtype=torch.int32), r"torch.int32 \(2,\)"),
        (torch.tensor(1), r"torch.int64 \(\)"),
    ],
    ids=["too many", "two axes", "floats", "int32", "one number"],
)
def test_labels_of_another_shape_or_type_are_refused(cond: Tensor, found: str) -> None:
    with pytest.raises(UsageError, match=rf"^class labels of 2 images are int64 \(2,\), found {found}$"):
        LABELLED.inputs(images(), 3, cond, torch.float32)


# --- what its output may be


def test_an_output_as_large_as_the_images_is_taken_as_it_is() -> None:
    output = images()
    found, learned = READING.halves(output, 2)
    assert found is output
    assert learned is None


def test_twice_the_channels_are_taken_apart() -> None:
    output = torch.cat([images(), images() + 1], 1)
    found, learned = READING.halves(output, 2)
    assert torch.equal(found, images())
    assert learned is not None
    assert torch.equal(learned, images() + 1)


def test_a_learned_range_needs_twice_the_channels() -> None:
    learned = replace(READING, learned_range=True)
    assert learned.halves(torch.cat([images(), images()], 1), 2)[1] is not None
    with pytest.raises(InputError, match=r"learned a variance too, which needs twice the channels; read it without"):
        learned.halves(images(), 2)


@pytest.mark.parametrize("shape", [(1, 4, 3), (3, 4, 3), (6, 4, 3), (4, 8, 3), (2, 3, 4), (24,)], ids=str)
def test_another_output_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"output is \(.*\) and its images are \(2, 4, 3\): it must be as large"):
        READING.halves(torch.zeros(2, *shape), 2)


def test_an_output_of_another_number_of_images_is_refused() -> None:
    with pytest.raises(InputError, match="was given 3 images and its output holds 2"):
        READING.halves(images(), 3)


@pytest.mark.parametrize(
    ("needs_labels", "cond", "words"),
    [(False, [0, 3], "0..2, or below 0 for none, found [0, 3]"), (True, [3, 1], "0..2, found [1, 3]"),
     (True, [-1, 2], "0..2, found [-1, 2]")],
)  # fmt: skip
def test_labels_that_a_network_does_not_know(needs_labels: bool, cond: list[int], words: str) -> None:
    """Too high alone, and none alone where it needs them."""
    reading = replace(LABELLED, needs_labels=needs_labels)
    with pytest.raises(UsageError, match=re.escape(f"class labels of this network are {words}") + "$"):
        reading.inputs(images(), 3, torch.tensor(cond), torch.float32)
