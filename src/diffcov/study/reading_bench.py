"""Which reading of a published network denoises real images best, and whether it is good enough to be its own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch

from diffcov.data import ExampleSet
from diffcov.denoiser.mean_model import MeanModel
from diffcov.engines.plausibility import Plausibility, Yardstick, x0_errors
from diffcov.errors import InputError, NonFiniteError, UsageError
from diffcov.statistics.knots import times_near
from diffcov.store.checkpoint import load_weights
from diffcov.store.datasets import ImageDataset, has_test_split, load_images
from diffcov.store.foreign.facts import Foreign, Meaning, Variation
from diffcov.study.listener import Listener

__all__ = ["ReadingBench", "Way", "built", "judge"]

LEVELS = 8
"""Noise levels of the check, even in log-SNR."""
CHECKED, TRIED = 64, 16
"""Images that the chosen reading is checked on, and each other one is tried on."""
MEASURED = 2000
"""Images that the Gaussian's spectrum is taken from."""
CLEARLY = 4.0
"""Standard errors that another reading's error has to lie below that of what is assumed."""
ENOUGH = 0.99
"""And at most this share of it: a difference may be sure and of no account."""
MUCH_WORSE, WORSE = 1.5, 1.05
"""Times the Gaussian's error at one noise level: refused, and warned of."""


@dataclass(frozen=True)
class Way:
    """One way of something that no file says.

    Attributes:
        name: what is open.
        word: this way of it.
        score: its error over a Gaussian's, see :class:`Plausibility`; None if the network cannot be read so.
        taken: whether it was chosen.
    """

    name: str
    word: str
    score: float | None
    taken: bool


def built(found: Foreign, meaning: Meaning) -> MeanModel:
    """The mean model under one reading.

    Raises:
        InputError: weights that do not fit the network, or a network that cannot be called so.
    """
    network = meaning.network.build()
    weights = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in found.weights.items()}
    load_weights(network, weights, found.source)
    model = MeanModel(network, meaning.reading, meaning.features, decides=meaning.network.decides())
    return model.freeze()


@dataclass(frozen=True)
class ReadingBench:
    """Where readings are compared: images, and what is known of them without a network."""

    examples: ExampleSet
    yardstick: Yardstick
    log_snr: tuple[float, ...]
    found: Foreign
    device: torch.device
    seed: int

    @classmethod
    def of(cls, found: Foreign, images: ImageDataset, device: torch.device, seed: int) -> ReadingBench:
        """A bench on images of the model's kind; those of a test split are checked on where there is one.

        Raises:
            InputError: a model that wants classes, and images without.
        """
        reading = found.meaning.reading
        held_out = load_images(images.source, CHECKED, "test", images.resize) if has_test_split(images.source) else None
        order = torch.randperm(images.count, generator=torch.Generator().manual_seed(seed))
        chosen: ExampleSet = images.examples[order[:CHECKED]] if held_out is None else held_out.examples
        examples = chosen if reading.classes else chosen.unlabelled()
        if reading.needs_labels and examples.labels is None:
            raise InputError(
                f"the model wants a class with every image, and {images.source} has no labels; give some that has"
            )
        yardstick = Yardstick.of(images.examples[order[:MEASURED]].images, reading.data)
        levels = yardstick.levels(reading.schedule, LEVELS)
        return cls(examples.to(device), yardstick, levels, found, device, seed)

    def errors(self, meaning: Meaning, examples: ExampleSet) -> Plausibility:
        """The errors of one reading, at the times of its own schedule that are nearest to the noise levels."""
        model = built(self.found, meaning)
        model.to(self.device)
        times = times_near(meaning.reading.schedule, torch.tensor(self.log_snr, dtype=torch.float64))
        unit = meaning.reading.data.level_width / self.found.meaning.reading.data.level_width
        return x0_errors(model, examples, self.yardstick.in_units(unit), times, seed=self.seed)

    def chosen(self, say: Listener) -> tuple[Meaning, list[Way]]:
        """The reading with the least error, found one open question after the other."""
        few = self.examples[:TRIED]
        meaning, ways, known = self.found.meaning, list[Way](), None
        readings = sum(len(variation.ways) for variation in self.found.open)
        with say.progress("check", readings, "readings") as bar:
            for variation in self.found.open:
                tried, why = self._tried(variation, meaning, few, known)
                if not tried:
                    raise InputError(f"the network cannot be called under any reading of its {variation.name}: {why}")
                assumed = next(iter(variation.ways))
                scores = {word: check.score for word, (check, _) in tried.items()}
                best = min(scores, key=scores.__getitem__)
                if assumed in tried and not _clearly_better(tried[best][0], tried[assumed][0]):
                    best = assumed
                known, meaning = tried[best]
                for word in variation.ways:
                    ways.append(Way(variation.name, word, scores.get(word), taken=word == best))
                if best != assumed:
                    factor = scores.get(assumed, math.inf) / scores[best]
                    say.note(f"{variation.name}: {best} and not {assumed}, whose error is {factor:.4g} times as large")
                bar.update(len(ways), f"{variation.name}: {best}")
        return meaning, ways

    def _tried(
        self, variation: Variation, meaning: Meaning, examples: ExampleSet, known: Plausibility | None
    ) -> tuple[dict[str, tuple[Plausibility, Meaning]], Exception | None]:
        """Every way that the network allows, by its word, and why the last of the others is not allowed.

        Args:
            variation: what is open.
            meaning: all else.
            examples: to try on.
            known: the errors of the meaning as it is, where they are known.
        """
        tried: dict[str, tuple[Plausibility, Meaning]] = {}
        why: Exception | None = None
        for word, other in variation.of(meaning):
            try:
                found = known if known is not None and other is meaning else self.errors(other, examples)
            except (InputError, UsageError, NonFiniteError, RuntimeError) as error:
                why = error
            else:
                tried[word] = (found, other)
        return tried, why


def _clearly_better(other: Plausibility, assumed: Plausibility) -> bool:
    """Whether a reading is taken in the place of what is assumed: surely better, and by something that counts."""
    return other.better_than(assumed) >= CLEARLY and other.score <= ENOUGH * assumed.score


def judge(check: Plausibility, source: Path, say: Listener) -> None:
    """Refuse a reading that knows less than a spectrum; warn of one that does so somewhere."""
    if check.score >= 1 or check.worst > MUCH_WORSE:
        raise InputError(
            f"{source}, read as said above, has {check.score:.3g} times the error of a Gaussian on these images (up to "
            f"{check.worst:.3g} times at one noise level; asked for are less than 1, and nowhere {MUCH_WORSE:g}): they "
            "are not its images, or it is read wrongly; override the reading, give its own images with --data, or "
            "import it as it is with --no-check"
        )
    if check.worst > WORSE:
        say.warn(
            f"at {check.above} of {len(check.error)} noise levels its error is above a Gaussian's, up to "
            f"{check.worst:.3g} times: these may not be its images, or it is not trained to the end"
        )
