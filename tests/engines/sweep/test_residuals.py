"""The sweep at knots: the error of the clipped mean, blind to batches, and mergeable without a trace."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from diffcov.basis import colour_axes, cosine
from diffcov.data import DataDescription
from diffcov.denoiser.network import MeanModel, TimeConvention
from diffcov.diffusion.process import eps_from_x0
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.sweep import Residuals, estimate_residuals
from diffcov.errors import InputError, NonFiniteError, UsageError
from diffcov.nets.features import Features
from diffcov.nets.unet import UNet, UNetConfig
from diffcov.statistics.knots import Knots
from oracles.gaussian import GaussianWorld
from oracles.trunks import CountingTrunk, perfect_model

DATA = DataDescription(2, 3, 4, low=-3.0, high=3.0)
WORLD = GaussianWorld(NoiseSchedule.linear(50), mean=0.2, var=0.25)
KNOTS = Knots((1, 9, 50))
SUMMATION = 1e-12
"""Relative: the same float64 terms, added in another order."""
FLOAT32 = 1e-6
"""Relative to the largest sum: matrices are kept in single precision."""
OURS = TimeConvention(0.0, 1.0)


def gaussian_images(count: int) -> Tensor:
    draw = torch.Generator().manual_seed(7)
    return DATA.decode(0.2 + 0.5 * torch.randn(count, *DATA.shape, generator=draw))


IMAGES = gaussian_images(60)


def measured(samples: int = 10, knots: Knots = KNOTS, **options: object) -> Residuals:
    settings = {"matrices": True, **options}
    return estimate_residuals(perfect_model(WORLD, DATA), IMAGES, knots, samples, **settings)  # type: ignore[arg-type]


def same(a: Residuals, b: Residuals) -> bool:
    assert a.matrices is not None
    assert b.matrices is not None
    return all(
        torch.equal(value, theirs.tensors()[name])
        for mine, theirs in ((a.spectrum, b.spectrum), (a.matrices, b.matrices))
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


def zero_model(data: DataDescription = DATA, schedule: NoiseSchedule = WORLD.schedule, **options: object) -> MeanModel:
    return MeanModel(Zero(**options), schedule, data, OURS)  # type: ignore[arg-type]


# --- samples


@pytest.mark.parametrize("batch_size", [1, 3, 7, 10, 1000])
def test_batches_change_nothing(batch_size: int) -> None:
    """But for the rounding of transforms of other sizes."""
    found, whole = measured(batch_size=batch_size), measured(batch_size=256)
    for name, value in whole.spectrum.tensors().items():
        torch.testing.assert_close(found.spectrum.tensors()[name], value, rtol=SUMMATION, atol=0)
    assert found.matrices is not None
    assert whole.matrices is not None
    torch.testing.assert_close(found.matrices.pairs, whole.matrices.pairs, rtol=SUMMATION, atol=0)
    atol = FLOAT32 * float(whole.matrices.total.abs().max())
    torch.testing.assert_close(found.matrices.total, whole.matrices.total, rtol=0, atol=atol)


def test_samples_merge_into_one_pass() -> None:
    whole = measured(samples=25, seed=3)
    a, b, c = (measured(samples=count, seed=3, first=first) for first, count in ((0, 10), (10, 14), (24, 1)))
    spectrum = a.spectrum.merge(b.spectrum).merge(c.spectrum)
    for name, total in whole.spectrum.tensors().items():
        torch.testing.assert_close(spectrum.tensors()[name], total, rtol=SUMMATION, atol=0)
    assert whole.matrices is not None
    assert a.matrices is not None
    assert b.matrices is not None
    assert c.matrices is not None
    matrices = a.matrices.merge(b.matrices).merge(c.matrices)
    assert torch.equal(matrices.count, whole.matrices.count)
    atol = FLOAT32 * float(whole.matrices.total.abs().max())
    torch.testing.assert_close(matrices.total, whole.matrices.total, rtol=0, atol=atol)


def test_a_sample_depends_on_seed_time_and_number_alone() -> None:
    """Not on which other knots are measured, nor on how many samples beside."""
    among, alone = measured(), measured(knots=Knots((9,)))
    assert torch.equal(among.spectrum.total[1], alone.spectrum.total[0])
    assert among.matrices is not None
    assert alone.matrices is not None
    assert torch.equal(among.matrices.total[1], alone.matrices.total[0])
    assert among.matrices.pairs[1] == alone.matrices.pairs[0]


@pytest.mark.parametrize("batch_size", [1, 4, 7, 100])
def test_the_network_sees_the_same_sample_at_any_batch_size(batch_size: int) -> None:
    """In the order of knots and numbers, each once; every noise its own."""
    seen = []
    for size in (batch_size, 5):
        model = zero_model()
        estimate_residuals(model, IMAGES, Knots((9, 50)), 7, batch_size=size)
        seen.append([torch.cat(parts) for parts in zip(*model.trunk.seen, strict=True)])
    (x, times), (x_5, times_5) = seen
    assert times.tolist() == times_5.tolist() == [9.0] * 7 + [50.0] * 7
    assert torch.equal(x, x_5)
    one = zero_model()
    estimate_residuals(one, IMAGES[:1], Knots((9, 20, 50)), 2)
    x_t = torch.cat([x for x, _ in one.trunk.seen])
    t = torch.tensor([9, 9, 20, 20, 50, 50])
    eps = eps_from_x0(WORLD.schedule, x_t, t, DATA.encode(IMAGES[:1]).expand_as(x_t)).flatten(1)
    assert torch.cdist(eps, eps).add(torch.eye(6) * 100).min() > 1, "24 numbers each, differences of variance 2"


def test_a_first_sample_continues_where_the_last_one_ended() -> None:
    xs = []
    for first, count in ((0, 9), (4, 5)):
        model = zero_model()
        estimate_residuals(model, IMAGES, Knots((9,)), count, first=first)
        xs.append(torch.cat([x for x, _ in model.trunk.seen]))
    assert torch.equal(xs[0][4:], xs[1])


def test_every_image_is_used_before_any_is_used_twice() -> None:
    """Images of one grey level each and hardly any noise: what the network sees gives the image away."""
    schedule = NoiseSchedule.from_alpha_bar([1 - 1e-9])
    levels = torch.tensor([0, 60, 120, 180, 250], dtype=torch.uint8)
    model = zero_model(schedule=schedule)
    images = levels[:, None, None, None].expand(-1, *DATA.shape).contiguous()
    estimate_residuals(model, images, Knots((1,)), 10)
    shown = DATA.decode(torch.cat([x for x, _ in model.trunk.seen]).mean((1, 2, 3))).tolist()
    assert sorted(shown[:5]) == levels.tolist()
    assert shown[:5] == shown[5:]
    assert shown[:5] != sorted(shown[:5]), "shuffled"


def test_seeds_differ_and_repeat() -> None:
    assert same(measured(seed=1), measured(seed=1))
    a, b = measured(seed=1).spectrum.total, measured(seed=2).spectrum.total
    assert not torch.isclose(a, b, rtol=1e-9).any()


def test_flip_mirrors_about_half() -> None:
    """Left half dark, right half light: what the network sees is one or the other."""
    images = torch.full((1, *DATA.shape), 255, dtype=torch.uint8)
    images[..., :2] = 0
    for flip, low, high in ((False, 0, 0), (True, 65, 135)):
        model = zero_model(schedule=NoiseSchedule.from_alpha_bar([1 - 1e-9]))
        estimate_residuals(model, images, Knots((1,)), 200, flip=flip)
        x = torch.cat([x for x, _ in model.trunk.seen])
        mirrored = int((x[..., 0] > x[..., -1]).all((1, 2)).sum())
        assert low <= mirrored <= high, "100, and five standard deviations of 7"


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    measured()
    assert torch.equal(torch.get_rng_state(), before)


def test_on_batch_counts_images_and_each_image_is_one_network_row() -> None:
    model = perfect_model(WORLD, DATA)
    model.trunk = CountingTrunk(model.trunk)
    told: list[int] = []
    estimate_residuals(model, IMAGES, KNOTS, 10, batch_size=8, on_batch=told.append)
    assert told == [8, 10, 18, 20, 28, 30]
    assert model.trunk.batches == [8, 2] * 3


def test_a_real_network_is_batch_invariant_too() -> None:
    """Convolutions of other batch sizes may round differently."""
    torch.manual_seed(0)
    trunk = UNet(UNetConfig(1, 8, 8, channels=8, multipliers=(1,), blocks=1, attention=(), heads=1, dropout=0.0))
    with torch.no_grad():
        for parameter in trunk.parameters():
            parameter.normal_(0, 0.2)
    model = MeanModel(trunk, WORLD.schedule, DataDescription(1, 8, 8), TimeConvention(1.0, 20.0)).freeze()
    images = torch.randint(0, 256, (9, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    a, b = (estimate_residuals(model, images, Knots((1, 25)), 7, batch_size=size).spectrum for size in (7, 3))
    torch.testing.assert_close(b.total, a.total, rtol=1e-4, atol=1e-6 * float(a.total.max()))


# --- what is measured


def test_the_matrices_have_the_spectrum_on_their_diagonal() -> None:
    found = measured(samples=40)
    assert found.matrices is not None
    for knot in range(3):
        diagonal = found.matrices.moments(knot).diagonal().reshape(DATA.shape)
        torch.testing.assert_close(diagonal, found.spectrum.mean()[knot], rtol=FLOAT32, atol=0)
    assert found.matrices.basis == found.spectrum.basis
    assert torch.equal(found.matrices.knots, found.spectrum.knots)
    assert found.matrices.count.tolist() == found.spectrum.count.tolist() == [40.0] * 3


def test_the_matrices_are_left_out_unless_asked_for() -> None:
    found = measured(matrices=False)
    assert found.matrices is None
    assert all(torch.equal(v, measured().spectrum.tensors()[n]) for n, v in found.spectrum.tensors().items())


def test_coefficients_are_those_of_the_definition() -> None:
    """c = U (eps - eps_hat) by hand from what the network saw, for eps_hat = 0 where no clip bites."""
    model = zero_model()
    found = estimate_residuals(model, IMAGES, Knots((9,)), 5, matrices=True, clip_x0=False)
    model_again = zero_model()
    estimate_residuals(model_again, IMAGES, Knots((9,)), 5)
    x_t = torch.cat([x for x, _ in model_again.trunk.seen]).double()
    x_0 = DATA.encode(IMAGES).double()
    eps = torch.stack([nearest_noise(x, x_0) for x in x_t])
    c = cosine(*DATA.shape, colour_axes(IMAGES)).forward(eps)
    torch.testing.assert_close(found.spectrum.total[0], c.square().sum(0), rtol=1e-4, atol=1e-5)
    assert found.matrices is not None
    flat = c.flatten(1)
    torch.testing.assert_close(found.matrices.moments(0), flat.T @ flat / 5, rtol=1e-4, atol=1e-4)


def nearest_noise(x_t: Tensor, x_0: Tensor) -> Tensor:
    """The noise in x_t at t = 9, from the image that leaves the least of it."""
    abar, bbar = WORLD.schedule.alpha_bar[9], WORLD.schedule.beta_bar[9]
    candidates = (x_t - abar.sqrt() * x_0) / bbar.sqrt()
    return candidates[candidates.square().flatten(1).sum(1).argmin()]


def test_colours_are_the_images_own_unless_given() -> None:
    """Two channels that move together: sum and difference, and the spectrum says which is the louder."""
    together = IMAGES.clone()
    together[:, 1] = together[:, 0]
    model = perfect_model(WORLD, DATA)
    own = estimate_residuals(model, together, KNOTS, 10).spectrum
    torch.testing.assert_close(own.colour, colour_axes(together), rtol=0, atol=0)
    assert float(own.colour[0].abs().min()) == pytest.approx(0.5**0.5, abs=1e-9)
    given = torch.eye(2, dtype=torch.float64).flip(0)
    found = estimate_residuals(model, together, KNOTS, 10, colour=given).spectrum
    assert torch.equal(found.colour, given)
    plain = estimate_residuals(model, together, KNOTS, 10, colour=torch.eye(2, dtype=torch.float64)).spectrum
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
        estimate_residuals(zero_model(NARROW, schedule), GREY, Knots(times), count, clip_x0=clip).spectrum
        for clip in (True, False)
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
    clipped, plain = (measured(knots=Knots((1, 5)), clip_x0=clip) for clip in (True, False))
    torch.testing.assert_close(clipped.spectrum.total, plain.spectrum.total, rtol=1e-5, atol=0)


def test_it_clips_to_the_data_s_own_range() -> None:
    """[0, 1], of data that is 0 or 1: half of each error goes, the outward half."""
    data = DataDescription(1, 3, 4, low=0.0, high=1.0)
    schedule = NoiseSchedule.linear(50)
    black = torch.zeros(1, *data.shape, dtype=torch.uint8)
    found = estimate_residuals(zero_model(data, schedule), black, Knots((2,)), 2000).spectrum
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
        estimate_residuals(
            zero_model(broken_row=row, value=value), IMAGES, Knots((9,)), 4, batch_size=4, on_batch=told.append
        )
    assert caught.value.exit_code == 4
    assert told == []


@pytest.mark.parametrize("options", [{"samples": 0}, {"samples": -1}, {"batch_size": 0}])
def test_numbers_below_one(options: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="--samples and --batch-size must be at least 1"):
        measured(**options)


def test_matrices_of_large_images_are_refused_before_the_network_is_called() -> None:
    large = DataDescription(1, 33, 32)
    model = zero_model(large)
    images = torch.zeros(1, *large.shape, dtype=torch.uint8)
    with pytest.raises(InputError, match="at most 1024 values, and these have 1056"):
        estimate_residuals(model, images, KNOTS, 1, matrices=True)
    assert model.trunk.seen == []
    assert estimate_residuals(model, images, Knots((9,)), 1).spectrum.count.tolist() == [1.0]
