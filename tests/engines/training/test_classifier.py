"""Training the small classifier: it learns, repeats itself, and leaves the global random numbers alone."""

from __future__ import annotations

import pytest
import torch

from diffcov.data import DataDescription, Examples
from diffcov.engines.training.classifier import ClassifierTraining, StateOf, held_out, train_classifier
from diffcov.errors import InputError, NonFiniteError
from diffcov.nets.classifier import ClassifierSpec
from diffcov.store.datasets import load_images


@pytest.fixture(scope="module")
def digits() -> tuple[Examples, ClassifierSpec]:
    found = load_images("digits")
    assert found.labels is not None
    return found.examples, ClassifierSpec(found.description, found.classes, width=8)


def test_learns_the_digits(digits: tuple[Examples, ClassifierSpec]) -> None:
    data, held = held_out(digits[0])
    told: list[tuple[int, float]] = []
    config = ClassifierTraining(100)
    classifier = train_classifier(data, digits[1], config, on_step=lambda done, loss: told.append((done, loss)))
    assert classifier.accuracy(held) > 0.9
    assert [done for done, _ in told] == list(range(1, 101))
    assert told[-1][1] < 0.5 < told[0][1]
    assert not classifier.training
    assert not any(weights.requires_grad for weights in classifier.parameters())


def test_the_seed_is_all_that_matters(digits: tuple[Examples, ClassifierSpec]) -> None:
    def weights(seed: int) -> dict[str, torch.Tensor]:
        return train_classifier(*digits, ClassifierTraining(3, batch_size=16, seed=seed)).state_dict()

    torch.manual_seed(1)
    first = weights(0)
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), after), "the global generator was not touched"
    again, other = weights(0), weights(1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["convs.0.weight"], other["convs.0.weight"])


def test_a_tenth_is_held_out_for_good() -> None:
    labels = torch.arange(50)
    images = labels[:, None, None, None].expand(50, 1, 4, 4).to(torch.uint8)
    rest, held = held_out(Examples(images, labels))
    assert rest.labels is not None
    assert held.labels is not None
    assert (len(rest), len(held)) == (len(rest.labels), len(held.labels)) == (45, 5)
    assert torch.equal(torch.cat([rest.labels, held.labels]).sort().values, labels)
    for part in (rest, held):
        assert torch.equal(part.images[:, 0, 0, 0].long(), part.labels), "images keep their labels"
    again = held_out(Examples(images, labels))[1].labels
    assert again is not None
    assert torch.equal(again, held.labels)
    assert not torch.equal(held.labels, labels[:5])


def test_two_images_are_refused() -> None:
    with pytest.raises(InputError, match="at least 3 images with labels, found 2"):
        held_out(Examples(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.tensor([0, 1])))


def test_images_without_labels_are_refused() -> None:
    spec = ClassifierSpec(DataDescription(1, 4, 4), 2, width=8)
    with pytest.raises(InputError, match="learns from labels, and these images have none"):
        train_classifier(Examples(torch.zeros(5, 1, 4, 4, dtype=torch.uint8)), spec, ClassifierTraining(1))


def test_iterations_grow_with_the_images_within_bounds() -> None:
    counts = [10, 1500, 3000, 60_000]
    assert [ClassifierTraining.of_count(count).iterations for count in counts] == [100, 468, 937, 1000]


def test_the_rate_rises_and_falls_to_nothing() -> None:
    config = ClassifierTraining(100, lr=1.0)
    rates = [config.rate(i) for i in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] <= 1
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[-1] < 1e-3


def test_weights_that_are_no_numbers_are_refused(digits: tuple[Examples, ClassifierSpec]) -> None:
    with pytest.raises(NonFiniteError, match="weights became NaN or infinite"):
        train_classifier(*digits, ClassifierTraining(5, batch_size=8, lr=1e30))


@pytest.mark.parametrize("stopped", [1, 3])
def test_a_training_goes_on_to_the_same_weights(digits: tuple[Examples, ClassifierSpec], stopped: int) -> None:
    config, states = ClassifierTraining(5, batch_size=16), dict[int, dict[str, torch.Tensor]]()

    def keep(iteration: int, state: StateOf) -> None:
        states[iteration] = {name: value.clone() for name, value in state().items()}

    whole = train_classifier(*digits, config, on_state=keep).state_dict()
    told: list[int] = []
    begun = train_classifier(*digits, config, on_step=lambda done, _: told.append(done), begun=states[stopped])
    assert told == list(range(stopped + 1, 6))
    assert all(torch.equal(begun.state_dict()[name], whole[name]) for name in whole)
