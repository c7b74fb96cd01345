"""Classes: image i is asked for the one at its place, and everything that looks at images with labels shows them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from diffcov.covariance.ingredients import Ingredients
from diffcov.covariance.small import Small
from diffcov.data import Examples
from diffcov.denoiser.base import Denoiser
from diffcov.denoiser.guided import Guided
from diffcov.denoiser.mean_model import MeanModel
from diffcov.denoiser.reading import Reading
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.classes import Classes
from diffcov.engines.forward import look_along
from diffcov.engines.sampler import Sampler
from diffcov.engines.sampling import generate
from diffcov.engines.sweep import estimate
from diffcov.errors import UsageError
from diffcov.statistics.spectrum import Spectrum
from diffcov.statistics.table import VarianceTable
from oracles.tiny import DATA, tiny_images
from oracles.trunks import OUR_TIMES

SCHEDULE = NoiseSchedule.linear(50)


class Naming(nn.Module):
    """Says the label of each image, everywhere, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[list[int]] = []
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor, times: Tensor, labels: Tensor) -> Tensor:
        self.asked.append(labels.tolist())
        self.seen.append(x)
        return torch.zeros_like(x) + labels[:, None, None, None]


def naming(classes: int = 5) -> MeanModel:
    return MeanModel(Naming(), Reading(SCHEDULE, DATA, OUR_TIMES, classes=classes)).freeze()


def labelled(count: int) -> Examples:
    """Images of the classes 0, 1, 2, 3, 4, 0, .."""
    return Examples(tiny_images(count), torch.arange(count) % 5)


def sampler(model: Denoiser, classes: Classes | None, steps: int = 2) -> Sampler:
    return Sampler.of(model, Small(Ingredients.of(SCHEDULE, DATA)), steps=steps, classes=classes)


# --- which image is of which class


def test_classes_are_taken_in_turn() -> None:
    some = Classes.chosen([3, 0, 4], 5)
    assert some.of(range(8)).tolist() == [3, 0, 4, 3, 0, 4, 3, 0]
    assert some.of([7, 2, 1]).tolist() == [0, 4, 0]
    assert some.name == "3-0-4"
    assert Classes.all(3).of(range(5)).tolist() == [0, 1, 2, 0, 1]
    assert Classes.all(3).name == "all"
    assert some.of([]).dtype == some.of([1]).dtype == torch.int64


def test_classes_like_those_of_images_are_as_frequent_in_an_order_that_is_fixed() -> None:
    labels = torch.tensor([0] * 30 + [1] * 10 + [2] * 60)
    like = Classes.like(labels)
    found = like.of(range(100))
    assert found.bincount().tolist() == [30, 10, 60]
    assert not torch.equal(found, labels), "shuffled"
    assert torch.equal(like.of(range(100, 200)), found)
    assert torch.equal(Classes.like(labels).of(range(100)), found)
    before = torch.get_rng_state()
    Classes.like(labels)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_decides_them() -> None:
    """The classes themselves where they are few, a digest where they are many."""
    assert Classes.chosen([3, 0], 5).as_dict() == {"name": "3-0", "classes": [3, 0]}
    assert Classes.all(2).as_dict() == {"name": "all", "classes": [0, 1]}
    many = [Classes.like(torch.tensor(labels)).as_dict() for labels in ([0, 1, 1], [0, 1, 1], [0, 0, 1])]
    assert many[0].keys() == {"name", "digest"}
    assert many[0] == many[1] != many[2]
    orders = [Classes(torch.tensor(labels), "data").as_dict() for labels in ([0, 1], [1, 0])]
    assert orders[0] != orders[1], "which image has which class"


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([5], r"knows the classes 0\.\.4, and class 5 was asked for"),
        ([0, -1], r"knows the classes 0\.\.4, and class -1 was asked for"),
        ([1, 2, 1], r"named once each, found \[1, 2, 1\]"),
        ([], "named once each"),
    ],
)
def test_classes_that_cannot_be_are_refused(numbers: list[int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Classes.chosen(numbers, 5)


# --- who is told


@pytest.mark.parametrize("batch_size", [1, 3, 4, 100])
def test_the_sampler_asks_for_the_class_of_each_image(batch_size: int) -> None:
    """By its number, however it is cut into batches."""
    model = naming()
    list(generate(sampler(model, Classes.chosen([3, 0, 4], 5)), 6, batch_size=batch_size, first=2))
    looks = model.network.asked[::2]
    assert model.network.asked[1::2] == looks, "both steps alike"
    assert [label for batch in looks for label in batch] == [4, 3, 0, 4, 3, 0]


def test_without_classes_no_image_has_a_label() -> None:
    model = naming()
    list(generate(sampler(model, None), 3))
    assert model.network.asked == [[-1, -1, -1]] * 2


def test_guidance_asks_with_the_class_and_without() -> None:
    model = naming()
    list(generate(sampler(Guided(model, 2.0), Classes.all(5), steps=1), 3))
    assert model.network.asked == [[0, 1, 2], [-1, -1, -1]]


@pytest.mark.parametrize("batch_size", [1, 2, 4, 100])
def test_the_forward_path_shows_the_labels_of_the_images(batch_size: int) -> None:
    """Also where several times share a call."""
    seen = {}
    for noised in look_along(naming(), labelled(7), (3, 20, 50), batch_size=batch_size):
        for row, i in enumerate(range(noised.rows.start, noised.rows.stop)):
            seen[i, noised.look.time] = noised.look.eps_hat[row].unique().tolist()
    assert seen == {(i, t): [float(i % 5)] for i in range(7) for t in (3, 20, 50)}


@pytest.mark.parametrize("kind", [VarianceTable, Spectrum])
@pytest.mark.parametrize("batch_size", [2, 100])
def test_a_sweep_shows_the_labels_of_the_images(kind: type[VarianceTable | Spectrum], batch_size: int) -> None:
    """Five images, each as often and each with its label, which its grey level gives away."""
    labels = torch.arange(5)
    greys = (4 * labels).to(torch.uint8)[:, None, None, None].expand(-1, *DATA.shape).contiguous()
    model = naming()
    estimate(model, Examples(greys, labels), [kind], (1, 2), 10, batch_size=batch_size)
    asked = [label for batch in model.network.asked for label in batch]
    shown = DATA.decode(torch.cat([x.mean((1, 2, 3)) for x in model.network.seen])).int()
    assert (shown / 4).round().int().tolist() == asked
    assert sorted(asked) == sorted([0, 1, 2, 3, 4] * 4)
    assert asked[:5] == asked[5:10], "in the order of the shuffle"
    assert asked[:10] == asked[10:]


def test_a_mean_without_classes_is_not_told_of_labels() -> None:
    class Plain(nn.Module):
        def forward(self, x: Tensor, times: Tensor) -> Tensor:
            return torch.zeros_like(x)

    model = MeanModel(Plain(), Reading(SCHEDULE, DATA, OUR_TIMES)).freeze()
    assert len(list(look_along(model, labelled(3), (9,)))) == 1
    assert estimate(model, labelled(3), [VarianceTable], (9,), 3)[VarianceTable].times == [9]


def test_images_without_labels_are_shown_without() -> None:
    model = naming()
    list(look_along(model, labelled(3).unlabelled(), (9,)))
    estimate(model, labelled(3).unlabelled(), [VarianceTable], (9,), 2)
    assert model.network.asked == [[-1, -1, -1], [-1, -1]]
