"""The sweep over all times: true in the Gaussian world, blind to batches, and mergeable without a trace."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from diffcov.data import DataDescription, Examples
from diffcov.denoiser.mean_model import MeanModel
from diffcov.denoiser.parametrisation import PARAMETRISATIONS
from diffcov.denoiser.reading import Reading
from diffcov.denoiser.time import TimeConvention
from diffcov.diffusion.level import Level
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.sweep import estimate
from diffcov.errors import NonFiniteError, UsageError
from diffcov.nets.features import Features
from diffcov.nets.unet import UNet, UNetConfig
from diffcov.statistics.table import VarianceTable
from oracles.gaussian import GaussianWorld
from oracles.trunks import OUR_TIMES, PerfectTrunk, counted, perfect_model

DATA = DataDescription(1, 4, 4, levels=256, low=-3.0, high=3.0)
"""So wide that N(0.2, 0.25) is not cut; rounding adds a twelfth of a squared level to the variance."""
WORLD = GaussianWorld(NoiseSchedule.linear(50), mean=0.2, var=0.25 + DATA.level_width**2 / 12)
NEARLY_CLEAN = NoiseSchedule.from_alpha_bar([1 - 1e-9])
FOUR_STANDARD_ERRORS = 4.0
SUMMATION = 1e-12
"""Relative: the same float64 terms, added in another order."""


def gaussian_examples(count: int) -> Examples:
    draw = torch.Generator().manual_seed(7)
    return Examples(DATA.decode(0.2 + 0.5 * torch.randn(count, *DATA.shape, generator=draw)))


EXAMPLES = gaussian_examples(400)


def same(a: VarianceTable, b: VarianceTable) -> bool:
    return all(
        torch.equal(mine, theirs) for mine, theirs in zip(a.tensors().values(), b.tensors().values(), strict=True)
    )


def table_of(
    model: MeanModel, examples: Examples, times: tuple[int, ...], samples: int, **options: Any
) -> VarianceTable:
    """The table that a sweep finds."""
    found = estimate(model, examples, [VarianceTable], times, samples, **options)
    assert found.keys() == {VarianceTable}
    return found[VarianceTable]


def measured(times: tuple[int, ...] = (1, 9, 50), samples: int = 10, **options: Any) -> VarianceTable:
    return table_of(perfect_model(WORLD, DATA), EXAMPLES, times, samples, **options)


@pytest.mark.parametrize("bias", [0.0, 0.3])
def test_gaussian_world_within_four_standard_errors(bias: float) -> None:
    """Gamma_t and the error of the perfect mean are closed form; a bias b x_t adds b^2 E[x_t^2] to the error.

    E eps_hat^2 of the biased mean is E (eps_hat + b x_t)^2, and E[eps_hat x_t] = sqrt(bbar_t).
    """
    times = (1, 5, 20, 35, 50)
    table = table_of(perfect_model(WORLD, DATA, bias), EXAMPLES, times, len(EXAMPLES))
    for t in times:
        second_moment = WORLD.marginal_var(t) + WORLD.marginal_mean(t) ** 2
        cross = 2 * bias * math.sqrt(float(WORLD.schedule.beta_bar[t]))
        truths = {
            "error": (table.error_moments, WORLD.var_eps(t) + bias**2 * second_moment),
            "norm": (table.eps_hat_moments, WORLD.gamma_t(t) + cross + bias**2 * second_moment),
        }
        for name, (moments, truth) in truths.items():
            found, stderr = float(moments.mean()[t]), float(moments.stderr()[t])
            assert 0 < stderr < 0.05, (name, t)
            assert abs(found - truth) < FOUR_STANDARD_ERRORS * stderr, (name, t, found, truth, stderr)


def test_one_minus_gamma_is_found_even_where_it_is_tiny() -> None:
    """At t = T almost all of x_t is noise: 1 - Gamma_T = 2e-6 is not lost in its scatter."""
    t = WORLD.schedule.T
    table = measured(times=(t,), samples=400)
    truth = 1 - WORLD.gamma_t(t)
    stderr = float(table.eps_hat_moments.stderr()[t])
    assert 1 - float(table.eps_hat_moments.mean()[t]) == pytest.approx(truth, abs=FOUR_STANDARD_ERRORS * stderr)
    plain = math.sqrt(2 / (400 * DATA.dims))
    assert stderr < plain / 100, "the control variate at work"


@pytest.mark.parametrize("batch_size", [1, 3, 7, 30, 1000])
def test_batches_change_nothing(batch_size: int) -> None:
    assert same(measured(batch_size=batch_size), measured(batch_size=256))


def test_samples_merge_into_one_pass() -> None:
    whole = measured(samples=25, seed=3)
    parts = [measured(samples=count, seed=3, first=first) for first, count in ((0, 10), (10, 14), (24, 1))]
    merged = parts[0].merge(parts[1]).merge(parts[2])
    assert torch.equal(merged.count, whole.count)
    for name, total in whole.tensors().items():
        torch.testing.assert_close(merged.tensors()[name], total, rtol=SUMMATION, atol=0)


def test_a_sample_depends_on_seed_time_and_number_alone() -> None:
    """Not on which other times are measured, nor on their order."""
    alone, among = measured(times=(9,)), measured(times=(50, 9, 1))
    for name, total in alone.tensors().items():
        assert float(among.tensors()[name][9]) == float(total[9])


def test_only_the_asked_times_are_measured() -> None:
    table = measured(times=(9, 1), samples=4)
    assert table.times == [1, 9]
    for total in table.tensors().values():
        assert total.shape == (51,)
        assert total.dtype == torch.float64
        assert set(total.nonzero().flatten().tolist()) == {1, 9}
    assert table.count.sum() == 8


def test_seeds_differ_and_repeat() -> None:
    assert same(measured(seed=1), measured(seed=1))
    assert float(measured(seed=1).error_sq[9]) != float(measured(seed=2).error_sq[9])


def test_the_noise_depends_on_the_seed() -> None:
    """With one image there is no other randomness."""
    model = perfect_model(WORLD, DATA)
    one, two = (table_of(model, EXAMPLES[:1], (1, 9, 50), 3, seed=seed) for seed in (1, 2))
    for name, total in one.tensors().items():
        same_t = torch.isclose(total, two.tensors()[name], rtol=1e-9, atol=0)[[1, 9, 50]]
        assert same_t.tolist() == [name == "count"] * 3, name


class Recorder(nn.Module):
    """eps_hat = 0, and a memory of what came in; optionally NaN for one row of a batch."""

    feature_channels, embedding_width = 1, 1

    def __init__(self, broken_row: int | None = None) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(()))
        self.broken_row = broken_row
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor, times: Tensor) -> tuple[Tensor, Features]:
        self.seen.append(x)
        eps_hat = 0 * x + self.nothing
        if self.broken_row is not None:
            eps_hat[self.broken_row, 0, 1, 2] = math.nan
        return eps_hat, Features(x, times[:, None])


def test_every_time_and_every_sample_has_noise_of_its_own() -> None:
    """With one image, what the network saw gives the noise away."""
    network = Recorder()
    table_of(MeanModel(network, Reading(WORLD.schedule, DATA, OUR_TIMES)), EXAMPLES[:1], (9, 20, 50), 2)
    x_t = torch.cat(network.seen)
    level = Level.at(WORLD.schedule, torch.tensor([9, 9, 20, 20, 50, 50]), x_t)
    eps = PARAMETRISATIONS["x0"].eps(x_t, DATA.encode(EXAMPLES[:1].images).expand_as(x_t), level).flatten(1)
    assert torch.cdist(eps, eps).add(torch.eye(6) * 100).min() > 1, "16 numbers each, differences of variance 2"


@pytest.mark.parametrize("row", range(4))
def test_one_broken_image_of_a_batch_is_noticed(row: int) -> None:
    model = MeanModel(Recorder(row), Reading(WORLD.schedule, DATA, OUR_TIMES))
    told: list[int] = []
    with pytest.raises(NonFiniteError, match="predicts NaN or infinite noise") as caught:
        table_of(model, EXAMPLES, (9,), 4, batch_size=4, on_batch=told.append)
    assert caught.value.exit_code == 4
    assert told == []


GREYS = Examples(
    torch.tensor([130, 150, 175, 210, 250], dtype=torch.uint8)[:, None, None, None].expand(-1, *DATA.shape).contiguous()
)
"""Images of one grey level each."""


def order_of(seed: int) -> tuple[int, ...]:
    """In which order a seed takes images that the size of the error tells apart."""
    model = perfect_model(GaussianWorld(NEARLY_CLEAN, mean=0.0, var=1e-6), DATA)
    errors = [float(table_of(model, GREYS, (1,), 1, seed=seed, first=k).error_sq[1]) for k in range(len(GREYS))]
    return tuple(sorted(errors).index(error) for error in errors)


def test_images_are_shuffled_and_by_the_seed() -> None:
    orders = [order_of(seed) for seed in range(3)]
    assert all(sorted(order) == list(range(5)) for order in orders)
    assert len(set(orders)) == 3
    assert (0, 1, 2, 3, 4) not in orders


def test_every_image_is_used_before_any_is_used_twice() -> None:
    """Images of one grey level each and hardly any noise: the size of the error tells them apart."""
    model = perfect_model(GaussianWorld(NEARLY_CLEAN, mean=0.0, var=1e-6), DATA)
    logs = [math.log(float(table_of(model, GREYS, (1,), 1, first=k).error_sq[1])) for k in range(10)]
    assert logs[:5] == pytest.approx(logs[5:], abs=0.3)
    rising = sorted(logs[:5])
    assert all(b - a > 0.7 for a, b in pairwise(rising))


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    measured()
    assert torch.equal(torch.get_rng_state(), before)


def test_on_batch_counts_images_and_each_image_is_one_network_row() -> None:
    model = counted(PerfectTrunk(WORLD), Reading(WORLD.schedule, DATA, OUR_TIMES))
    told: list[int] = []
    table_of(model, EXAMPLES, (1, 9, 50), 10, batch_size=8, on_batch=told.append)
    assert told == [8, 16, 24, 30]
    assert model.network.batches == [8, 8, 8, 6]


class LeftHalf(nn.Module):
    """eps_hat is the mean of the left half of x_t, everywhere."""

    feature_channels, embedding_width = 1, 1

    def __init__(self) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, times: Tensor) -> tuple[Tensor, Features]:
        left = x[..., : x.shape[-1] // 2].mean((1, 2, 3), keepdim=True)
        return left.expand_as(x) + self.nothing, Features(x, times[:, None])


def test_flip_mirrors_about_half() -> None:
    """Left half -3, right half 0: the network sees 9 or, mirrored, 0."""
    images = torch.full((1, *DATA.shape), 128, dtype=torch.uint8)
    images[..., :2] = 0
    model = MeanModel(LeftHalf(), Reading(NEARLY_CLEAN, DATA, OUR_TIMES))
    tables = [table_of(model, Examples(images), (1,), 200, flip=flip) for flip in (False, True)]
    plain, flipped = (float(table.eps_hat_moments.mean()[1]) for table in tables)
    assert plain == pytest.approx(9, abs=0.2)
    assert flipped == pytest.approx(4.5, abs=4 * 4.5 / math.sqrt(200))


@pytest.mark.parametrize("options", [{"samples": 0}, {"samples": -1}, {"batch_size": 0}])
def test_refusals(options: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="--samples and --batch-size must be at least 1"):
        measured(**options)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_broken_network_is_noticed(value: float) -> None:
    with pytest.raises(NonFiniteError, match="NaN or infinite"):
        table_of(perfect_model(WORLD, DATA, bias=value), EXAMPLES, (9,), 2)


def test_a_real_network_is_batch_invariant_too() -> None:
    """Convolutions of other batch sizes may round differently: float32, averaged over 64 pixels."""
    torch.manual_seed(0)
    network = UNet(UNetConfig(1, 8, 8, channels=8, multipliers=(1,), blocks=1, attention=(), heads=1, dropout=0.0))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.2)
    reading = Reading(WORLD.schedule, DataDescription(1, 8, 8), TimeConvention(1.0, 20.0))
    model = MeanModel(network, reading).freeze()
    examples = Examples(torch.randint(0, 256, (9, 1, 8, 8), dtype=torch.uint8))
    a, b = (table_of(model, examples, (1, 25), 7, batch_size=size) for size in (14, 3))
    for name, total in a.tensors().items():
        torch.testing.assert_close(b.tensors()[name], total, rtol=1e-5, atol=0)


class Seeing(nn.Module):
    """Keeps what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        self.seen.append(x)
        return 0 * x


def test_looks_are_in_float64_whatever_the_network_computes_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """x0_hat of a float32 network is computed from its output in float64: the network alone rounds."""
    model = MeanModel.of(Seeing(), predicts="eps", schedule=WORLD.schedule, data=DATA)
    looks = []
    look = model.look
    monkeypatch.setattr(model, "look", lambda x, t, cond=None: looks.append(found := look(x, t, cond)) or found)
    table_of(model, EXAMPLES, (3,), 4)
    (one,) = looks
    assert one.x_t.dtype == one.x0_hat.dtype == torch.float64
    assert {x.dtype for x in model.network.seen} == {torch.float32}


def test_an_image_is_mirrored_at_some_times_and_not_at_others() -> None:
    """One image that is not its own mirror, without noise: what is seen at each time tells whether it was turned."""
    pixels = torch.arange(16, dtype=torch.uint8).reshape(1, 1, 4, 4) * 16
    model = MeanModel.of(Seeing(), predicts="eps", schedule=WORLD.schedule, data=DATA)
    model.network.seen.clear()
    times = tuple(range(1, 41))
    silent = {"noise": lambda batch: torch.zeros(len(batch), *DATA.shape), "flip": True}
    table_of(model, Examples(pixels), times, 1, **silent)
    (seen,) = model.network.seen
    turned = [bool(x[0, 0, 0] > x[0, 0, 1]) for x in seen]
    assert 10 < sum(turned) < 30
