"""The sweep at knots: the error of the clipped mean, blind to batches, and mergeable without a trace."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from diffcov.basis import colour_axes, cosine
from diffcov.data import DataDescription, Examples
from diffcov.denoiser.clipped import Clipped
from diffcov.denoiser.mean_model import MeanModel
from diffcov.denoiser.parametrisation import PARAMETRISATIONS
from diffcov.denoiser.reading import Reading
from diffcov.denoiser.time import TimeConvention
from diffcov.diffusion.level import Level
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.sweep import estimate
from diffcov.errors import InputError, NonFiniteError, UsageError
from diffcov.nets.features import Features
from diffcov.nets.unet import UNet, UNetConfig
from diffcov.statistics.matrices import ResidualMatrices
from diffcov.statistics.spectrum import Spectrum
from diffcov.statistics.table import VarianceTable
from oracles.gaussian import GaussianWorld
from oracles.trunks import OUR_TIMES, PerfectTrunk, counted, perfect_model

DATA = DataDescription(2, 3, 4, low=-3.0, high=3.0)
WORLD = GaussianWorld(NoiseSchedule.linear(50), mean=0.2, var=0.25)
KNOTS = (1, 9, 50)
BOTH = (Spectrum, ResidualMatrices)
SUMMATION = 1e-12
"""Relative: the same float64 terms, added in another order."""
FLOAT32 = 1e-6
"""Relative to the largest sum: matrices are kept in single precision."""


def gaussian_examples(count: int) -> Examples:
    draw = torch.Generator().manual_seed(7)
    return Examples(DATA.decode(0.2 + 0.5 * torch.randn(count, *DATA.shape, generator=draw)))


EXAMPLES = gaussian_examples(60)
Measured = tuple[Spectrum, ResidualMatrices]


def measured(samples: int = 10, knots: tuple[int, ...] = KNOTS, **options: Any) -> Measured:
    """Spectrum and matrices of the perfect mean, from one sweep."""
    found = estimate(perfect_model(WORLD, DATA), EXAMPLES, BOTH, knots, samples, **options)
    assert found.keys() == set(BOTH)
    return found[Spectrum], found[ResidualMatrices]


def spectrum_of(model: MeanModel, examples: Examples, knots: tuple[int, ...], samples: int, **options: Any) -> Spectrum:
    """The spectrum alone."""
    return estimate(model, examples, [Spectrum], knots, samples, **options)[Spectrum]


def same(a: Measured, b: Measured) -> bool:
    return all(
        torch.equal(value, theirs.tensors()[name])
        for mine, theirs in zip(a, b, strict=True)
        for name, value in mine.tensors().items()
    )


class Zero(nn.Module):
    """eps_hat = 0, and a memory of what came in; optionally NaN in one pixel of one row of a batch."""

    feature_channels, embedding_width = 1, 1

    def __init__(self, broken_row: int | None = None, value: float = math.nan) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(()))
        self.broken_row, self.value = broken_row, value
        self.seen: list[tuple[Tensor, Tensor]] = []

    def forward(self, x: Tensor, times: Tensor) -> tuple[Tensor, Features]:
        self.seen.append((x, times))
        eps_hat = 0 * x + self.nothing
        if self.broken_row is not None:
            eps_hat[self.broken_row, 0, 1, 2] = self.value
        return eps_hat, Features(x, times[:, None])


def zero_model(data: DataDescription = DATA, schedule: NoiseSchedule = WORLD.schedule, **options: Any) -> MeanModel:
    return MeanModel(Zero(**options), Reading(schedule, data, OUR_TIMES))


# --- samples


@pytest.mark.parametrize("batch_size", [1, 3, 7, 10, 1000])
def test_batches_change_nothing(batch_size: int) -> None:
    """But for the rounding of transforms of other sizes."""
    (spectrum, matrices), (whole, pairs) = measured(batch_size=batch_size), measured(batch_size=256)
    for name, value in whole.tensors().items():
        torch.testing.assert_close(spectrum.tensors()[name], value, rtol=SUMMATION, atol=0)
    torch.testing.assert_close(matrices.pairs, pairs.pairs, rtol=SUMMATION, atol=0)
    atol = FLOAT32 * float(pairs.total.abs().max())
    torch.testing.assert_close(matrices.total, pairs.total, rtol=0, atol=atol)


def test_samples_merge_into_one_pass() -> None:
    whole, pairs = measured(samples=25, seed=3)
    parts = [measured(samples=count, seed=3, first=first) for first, count in ((0, 10), (10, 14), (24, 1))]
    (a, b, c), (d, e, f) = zip(*parts, strict=True)
    spectrum, matrices = a.merge(b).merge(c), d.merge(e).merge(f)
    for name, total in whole.tensors().items():
        torch.testing.assert_close(spectrum.tensors()[name], total, rtol=SUMMATION, atol=0)
    assert torch.equal(matrices.count, pairs.count)
    atol = FLOAT32 * float(pairs.total.abs().max())
    torch.testing.assert_close(matrices.total, pairs.total, rtol=0, atol=atol)


def test_a_sample_depends_on_seed_time_and_number_alone() -> None:
    """Not on which other knots are measured, nor on how many samples beside."""
    among, alone = measured(), measured(knots=(9,))
    for mine, own in zip(among, alone, strict=True):
        assert torch.equal(mine.total[1], own.total[0])
    assert among[1].pairs[1] == alone[1].pairs[0]


@pytest.mark.parametrize("batch_size", [1, 4, 7, 100])
def test_the_network_sees_the_same_sample_at_any_batch_size(batch_size: int) -> None:
    """In the order of knots and numbers, each once; every noise its own."""
    seen = []
    for size in (batch_size, 5):
        model = zero_model()
        spectrum_of(model, EXAMPLES, (9, 50), 7, batch_size=size)
        seen.append([torch.cat(parts) for parts in zip(*model.network.seen, strict=True)])
    (x, times), (x_5, times_5) = seen
    assert times.tolist() == times_5.tolist() == [9.0] * 7 + [50.0] * 7
    assert torch.equal(x, x_5)
    one = zero_model()
    spectrum_of(one, EXAMPLES[:1], (9, 20, 50), 2)
    x_t = torch.cat([x for x, _ in one.network.seen])
    level = Level.at(WORLD.schedule, torch.tensor([9, 9, 20, 20, 50, 50]), x_t)
    eps = PARAMETRISATIONS["x0"].eps(x_t, DATA.encode(EXAMPLES[:1].images).expand_as(x_t), level).flatten(1)
    assert torch.cdist(eps, eps).add(torch.eye(6) * 100).min() > 1, "24 numbers each, differences of variance 2"


def test_a_first_sample_continues_where_the_last_one_ended() -> None:
    xs = []
    for first, count in ((0, 9), (4, 5)):
        model = zero_model()
        spectrum_of(model, EXAMPLES, (9,), count, first=first)
        xs.append(torch.cat([x for x, _ in model.network.seen]))
    assert torch.equal(xs[0][4:], xs[1])


def test_every_image_is_used_before_any_is_used_twice() -> None:
    """Images of one grey level each and hardly any noise: what the network sees gives the image away."""
    schedule = NoiseSchedule.from_alpha_bar([1 - 1e-9])
    levels = torch.tensor([0, 60, 120, 180, 250], dtype=torch.uint8)
    model = zero_model(schedule=schedule)
    images = levels[:, None, None, None].expand(-1, *DATA.shape).contiguous()
    spectrum_of(model, Examples(images), (1,), 10)
    shown = DATA.decode(torch.cat([x for x, _ in model.network.seen]).mean((1, 2, 3))).tolist()
    assert sorted(shown[:5]) == levels.tolist()
    assert shown[:5] == shown[5:]
    assert shown[:5] != sorted(shown[:5]), "shuffled"


def test_seeds_differ_and_repeat() -> None:
    assert same(measured(seed=1), measured(seed=1))
    a, b = measured(seed=1)[0].total, measured(seed=2)[0].total
    assert not torch.isclose(a, b, rtol=1e-9).any()


def test_flip_mirrors_about_half() -> None:
    """Left half dark, right half light: what the network sees is one or the other."""
    images = torch.full((1, *DATA.shape), 255, dtype=torch.uint8)
    images[..., :2] = 0
    for flip, low, high in ((False, 0, 0), (True, 65, 135)):
        model = zero_model(schedule=NoiseSchedule.from_alpha_bar([1 - 1e-9]))
        spectrum_of(model, Examples(images), (1,), 200, flip=flip)
        x = torch.cat([x for x, _ in model.network.seen])
        mirrored = int((x[..., 0] > x[..., -1]).all((1, 2)).sum())
        assert low <= mirrored <= high, "100, and five standard deviations of 7"


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    measured()
    assert torch.equal(torch.get_rng_state(), before)


def test_on_batch_counts_images_and_each_image_is_one_network_row() -> None:
    model = counted(PerfectTrunk(WORLD), Reading(WORLD.schedule, DATA, OUR_TIMES))
    told: list[int] = []
    estimate(model, EXAMPLES, BOTH, KNOTS, 10, batch_size=8, on_batch=told.append)
    assert told == [8, 10, 18, 20, 28, 30]
    assert model.network.batches == [8, 2] * 3


def test_a_real_network_is_batch_invariant_too() -> None:
    """Convolutions of other batch sizes may round differently."""
    torch.manual_seed(0)
    network = UNet(UNetConfig(1, 8, 8, channels=8, multipliers=(1,), blocks=1, attention=(), heads=1, dropout=0.0))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.2)
    reading = Reading(WORLD.schedule, DataDescription(1, 8, 8), TimeConvention(1.0, 20.0))
    model = MeanModel(network, reading).freeze()
    images = torch.randint(0, 256, (9, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    a, b = (spectrum_of(model, Examples(images), (1, 25), 7, batch_size=size) for size in (7, 3))
    torch.testing.assert_close(b.total, a.total, rtol=1e-4, atol=1e-6 * float(a.total.max()))


# --- what is measured


def test_the_matrices_have_the_spectrum_on_their_diagonal() -> None:
    spectrum, matrices = measured(samples=40)
    for knot in range(3):
        diagonal = matrices.moments(knot).diagonal().reshape(DATA.shape)
        torch.testing.assert_close(diagonal, spectrum.mean()[knot], rtol=FLOAT32, atol=0)
    assert matrices.basis == spectrum.basis
    assert torch.equal(matrices.knots, spectrum.knots)
    assert matrices.count.tolist() == spectrum.count.tolist() == [40.0] * 3


@pytest.mark.parametrize("kind", BOTH)
def test_what_is_not_asked_for_is_not_measured_and_changes_nothing(kind: type[Spectrum | ResidualMatrices]) -> None:
    together = measured()[BOTH.index(kind)].tensors()
    found = estimate(perfect_model(WORLD, DATA), EXAMPLES, [kind], KNOTS, 10)
    assert found.keys() == {kind}
    assert all(torch.equal(value, together[name]) for name, value in found[kind].tensors().items())


def test_coefficients_are_those_of_the_definition() -> None:
    """c = U (eps - eps_hat) by hand from what the network saw, for eps_hat = 0 where no clip bites."""
    found = estimate(zero_model(), EXAMPLES, BOTH, (9,), 5, clip=False)
    model_again = zero_model()
    spectrum_of(model_again, EXAMPLES, (9,), 5)
    x_t = torch.cat([x for x, _ in model_again.network.seen]).double()
    x_0 = DATA.encode(EXAMPLES.images).double()
    eps = torch.stack([nearest_noise(x, x_0) for x in x_t])
    c = cosine(*DATA.shape, colour_axes(EXAMPLES.images)).forward(eps)
    torch.testing.assert_close(found[Spectrum].total[0], c.square().sum(0), rtol=1e-4, atol=1e-5)
    flat = c.flatten(1)
    torch.testing.assert_close(found[ResidualMatrices].moments(0), flat.T @ flat / 5, rtol=1e-4, atol=1e-4)


def nearest_noise(x_t: Tensor, x_0: Tensor) -> Tensor:
    """The noise in x_t at t = 9, from the image that leaves the least of it."""
    abar, bbar = WORLD.schedule.alpha_bar[9], WORLD.schedule.beta_bar[9]
    candidates = (x_t - abar.sqrt() * x_0) / bbar.sqrt()
    return candidates[candidates.square().flatten(1).sum(1).argmin()]


def test_colours_are_the_images_own_unless_given() -> None:
    """Two channels that move together: sum and difference, and the spectrum says which is the louder."""
    images = EXAMPLES.images.clone()
    images[:, 1] = images[:, 0]
    model, together = perfect_model(WORLD, DATA), Examples(images)
    own = spectrum_of(model, together, KNOTS, 10)
    torch.testing.assert_close(own.colour, colour_axes(images), rtol=0, atol=0)
    assert float(own.colour[0].abs().min()) == pytest.approx(0.5**0.5, abs=1e-9)
    given = torch.eye(2, dtype=torch.float64).flip(0)
    found = spectrum_of(model, together, KNOTS, 10, colour=given)
    assert torch.equal(found.colour, given)
    plain = spectrum_of(model, together, KNOTS, 10, colour=torch.eye(2, dtype=torch.float64))
    torch.testing.assert_close(found.total, plain.total.flip(1), rtol=1e-9, atol=0)


# --- the clip

NARROW = DataDescription(1, 3, 4)
GREY = torch.full((1, *NARROW.shape), 191, dtype=torch.uint8)
"""One grey level in [-1, 1]: x_0 = 0.498 everywhere."""


def clipped_error(x_0: float, r: float) -> float:
    """E[(clamp(x_0 + sqrt(r) eps, -1, 1) - x_0)^2] by the trapezoid rule: if eps_hat = 0, x0_hat = x_t / sqrt(abar)."""
    eps = torch.linspace(-9, 9, 200_001, dtype=torch.float64)
    density = (-eps.square() / 2).exp() / math.sqrt(2 * math.pi)
    return float(torch.trapezoid(((x_0 + math.sqrt(r) * eps).clamp(-1, 1) - x_0).square() * density, eps))


@pytest.mark.parametrize("schedule", [NoiseSchedule.linear(50), NoiseSchedule.cosine(50)], ids=str)
def test_it_is_the_error_of_the_clipped_mean(schedule: NoiseSchedule) -> None:
    """Of a network that says 0: r times the spectrum is E[(x0_hat - x_0)^2], and x0_hat is clipped to the range.

    Unclipped it would be r, up to 1e5 at the end; clipped it never exceeds the range squared.
    """
    times, count = (2, 25, 50), 4000
    x_0 = float(NARROW.encode(GREY)[0, 0, 0, 0])
    found, unclipped = (
        spectrum_of(zero_model(NARROW, schedule), Examples(GREY), times, count, clip=clip) for clip in (None, False)
    )
    for knot, t in enumerate(times):
        r = float(schedule.ratio[t])
        error = r * float(found.mean()[knot].mean())
        four = 4 * r * float(found.stderr()[knot].square().sum().sqrt()) / NARROW.dims
        assert error == pytest.approx(clipped_error(x_0, r), abs=max(four, 1e-6)), t
        assert error <= 1.5**2
        plain, four = float(unclipped.mean()[knot].mean()), 4 * math.sqrt(2 / (count * NARROW.dims))
        assert plain == pytest.approx(1, abs=four)
    assert float(schedule.ratio[50]) > 1e4 * clipped_error(x_0, float(schedule.ratio[50]))


def test_the_clip_changes_nothing_where_it_does_not_bite() -> None:
    """A perfect mean in a range of six standard deviations, early."""
    (clipped, _), (plain, _) = (measured(knots=(1, 5), clip=clip) for clip in (True, False))
    torch.testing.assert_close(clipped.total, plain.total, rtol=1e-5, atol=0)


def test_it_clips_to_the_data_s_own_range() -> None:
    """[0, 1], of data that is 0 or 1: half of each error goes, the outward half."""
    data = DataDescription(1, 3, 4, low=0.0, high=1.0)
    schedule = NoiseSchedule.linear(50)
    black = torch.zeros(1, *data.shape, dtype=torch.uint8)
    found = spectrum_of(zero_model(data, schedule), Examples(black), (2,), 2000)
    r = float(schedule.ratio[2])
    assert r < 0.02, "so small that only the lower end is ever met"
    assert float(found.mean().mean()) == pytest.approx(0.5, abs=4 * math.sqrt(1.25 / (2000 * 12)))


# --- refusals


@pytest.mark.parametrize("row", range(4))
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_one_broken_image_of_a_batch_is_noticed(row: int, value: float) -> None:
    """Also an infinity, which the clip would make a plain number of."""
    told: list[int] = []
    with pytest.raises(NonFiniteError, match="predicts NaN or infinite noise") as caught:
        spectrum_of(zero_model(broken_row=row, value=value), EXAMPLES, (9,), 4, batch_size=4, on_batch=told.append)
    assert caught.value.exit_code == 4
    assert told == []


@pytest.mark.parametrize("options", [{"samples": 0}, {"samples": -1}, {"batch_size": 0}])
def test_numbers_below_one(options: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="--samples and --batch-size must be at least 1"):
        measured(**options)


def test_matrices_of_large_images_are_refused_before_the_network_is_called() -> None:
    large = DataDescription(1, 33, 32)
    model = zero_model(large)
    examples = Examples(torch.zeros(1, *large.shape, dtype=torch.uint8))
    with pytest.raises(InputError, match="at most 1024 values, and these have 1056"):
        estimate(model, examples, BOTH, KNOTS, 1)
    assert model.network.seen == []
    assert spectrum_of(model, examples, (9,), 1).count.tolist() == [1.0]


@pytest.mark.parametrize("kinds", [(), (VarianceTable, Spectrum)], ids=["none", "table and spectrum"])
def test_one_sweep_has_one_placement(kinds: tuple[type, ...]) -> None:
    model = zero_model()
    with pytest.raises(UsageError, match="a sweep measures statistics of one placement"):
        estimate(model, EXAMPLES, kinds, KNOTS, 1)
    assert model.network.seen == []


def test_a_mean_that_is_clipped_already_is_refused() -> None:
    """Each statistic says itself whether it is measured through the clip."""
    model = zero_model()
    with pytest.raises(UsageError, match="through a mean that is not clipped"):
        estimate(Clipped(model), EXAMPLES, BOTH, KNOTS, 1)
    assert model.network.seen == []
