"""Train the small classifier whose features measure samples: seeded, short, and checked on images it never saw."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from diffcov.data import ExampleSet
from diffcov.errors import InputError, NonFiniteError
from diffcov.nets.classifier import Classifier, ClassifierSpec
from diffcov.noise import generator, key

__all__ = ["ClassifierTraining", "StateOf", "held_out", "train_classifier"]

StateOf = Callable[[], Mapping[str, Tensor]]
"""What makes the state of a training, for :func:`train_classifier` to go on from."""


def held_out(examples: ExampleSet, seed: int = 0, share: float = 0.1) -> tuple[ExampleSet, ExampleSet]:
    """Examples to train on, and a random ``share`` to hold out, at least one image.

    Raises:
        InputError: fewer than three images.
    """
    count = len(examples)
    if count < 3:
        raise InputError(f"a classifier needs at least 3 images with labels, found {count}; choose other --features")
    order = torch.randperm(count, generator=generator(seed, "held out"))
    held, rest = order.tensor_split([max(1, round(share * count))])
    return examples.subset(rest), examples.subset(held)


@dataclass(frozen=True)
class ClassifierTraining:
    """Settings of a training.

    Attributes:
        iterations: steps of the optimiser.
        batch_size: images a step.
        lr: largest learning rate; it rises over the first tenth and falls to 0 as a cosine.
        weight_decay: of AdamW.
        seed: of the weights and of the order of the images.
    """

    iterations: int
    batch_size: int = 128
    lr: float = 5e-3
    weight_decay: float = 1e-2
    seed: int = 0

    @classmethod
    def of_count(cls, count: int, epochs: int = 40, least: int = 100, most: int = 1000) -> ClassifierTraining:
        """The settings for ``count`` images: so many epochs, within bounds that keep it to minutes on a CPU."""
        return cls(min(most, max(least, epochs * count // cls.batch_size)))

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain values, for metadata."""
        return asdict(self)

    def rate(self, iteration: int) -> float:
        """The learning rate of step ``iteration`` (0-based)."""
        warm = min(1.0, (iteration + 1) / max(1.0, 0.1 * self.iterations))
        return self.lr * warm * (1 + math.cos(math.pi * iteration / self.iterations)) / 2


def train_classifier(
    data: ExampleSet,
    spec: ClassifierSpec,
    config: ClassifierTraining,
    device: torch.device | None = None,
    on_step: Callable[[int, float], None] = lambda iteration, loss: None,
    begun: Mapping[str, Tensor] | None = None,
    on_state: Callable[[int, StateOf], None] = lambda iteration, state: None,
) -> Classifier:
    """Minimise the cross entropy.

    Begun from the state of an earlier training of the same data, classifier and settings, it ends in the same weights.

    Args:
        data: the images, with their classes.
        spec: the classifier.
        config: the settings.
        device: where; the CPU by default.
        on_step: told the steps done and a recent loss.
        begun: the state to go on from; None begins.
        on_state: told the steps done, with what makes the state that they left, to be called at once or not at all.

    Returns:
        The classifier on ``device``, frozen, in eval mode.

    Raises:
        InputError: images without labels.
        NonFiniteError: the weights became NaN or infinite.
    """
    if data.labels is None:
        raise InputError("a classifier learns from labels, and these images have none")
    device = device or torch.device("cpu")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(config.seed, "classifier"))
        classifier = spec.build().to(device).train()
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    shown, start = math.inf, 0 if begun is None else _restored(classifier, optimizer, begun)
    for iteration in range(start, config.iterations):
        for group in optimizer.param_groups:
            group["lr"] = config.rate(iteration)
        # With replacement, so that a set smaller than a batch needs no case of its own.
        draw = generator(config.seed, "classifier batch", iteration)
        chosen = data[torch.randint(len(data), (config.batch_size,), generator=draw)].to(device)
        images, labels = chosen.images, chosen.labels
        assert labels is not None
        loss = F.cross_entropy(classifier(images), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if iteration % 50 == 0 or iteration + 1 == config.iterations:
            shown = float(loss.detach())
        on_step(iteration + 1, shown)
        on_state(iteration + 1, partial(_state, classifier, optimizer, iteration + 1))
    if not all(torch.isfinite(weights).all() for weights in classifier.state_dict().values()):
        raise NonFiniteError("the classifier's weights became NaN or infinite; choose other --features")
    return classifier.eval().requires_grad_(False)


def _state(classifier: Classifier, optimizer: torch.optim.Optimizer, iteration: int) -> dict[str, Tensor]:
    """What a training has come to: weights, what the optimiser remembers, and the steps done."""
    out = {f"model.{name}": value for name, value in classifier.state_dict().items()}
    for number, slots in optimizer.state_dict()["state"].items():
        out |= {f"optimizer.{number}.{name}": value for name, value in slots.items()}
    return {**out, "iteration": torch.tensor(iteration)}


def _restored(classifier: Classifier, optimizer: torch.optim.Optimizer, state: Mapping[str, Tensor]) -> int:
    """Put the state back; returns the steps done."""
    model = {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}
    classifier.load_state_dict(model)
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in state.items():
        kind, _, rest = name.partition(".")
        if kind == "optimizer":
            number, _, slot = rest.partition(".")
            slots.setdefault(int(number), {})[slot] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": slots})
    return int(state["iteration"])
