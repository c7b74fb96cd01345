"""The spectrum: sufficient statistics that merge by adding, in cells where images are large, smooth between knots."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from diffcov.basis import cosine
from diffcov.data import DataDescription, Examples
from diffcov.diffusion.level import q_sample
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.sweep import estimate
from diffcov.errors import InputError
from diffcov.statistics.knots import Knots
from diffcov.statistics.moments import Moments
from diffcov.statistics.spectrum import CELLS, Spectrum, frequency_cells
from diffcov.statistics.table import VarianceTable
from oracles.diagonal import DiagonalWorld
from oracles.measured import no_rotation, told_spectrum
from oracles.trunks import perfect_model

LINEAR = NoiseSchedule.linear(1000)
KNOTS = Knots((1, 50, 300, 700, 1000))
SHAPE = (2, 3, 4)
SUMMATION = 1e-12
"""Relative: the same float64 terms, added in another order."""
LOGARITHM = 1e-12
"""Relative: exp(log(x)) for x down to 1e-10."""


def draws(count: int, shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> Tensor:
    """Squares of normals, as squared coefficients are, (count, C, H, W)."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(count, *shape, generator=draw, dtype=torch.float64).square()


def empty(shape: tuple[int, int, int] = SHAPE, knots: Knots = KNOTS) -> Spectrum:
    return Spectrum.empty(knots, shape, no_rotation(shape[0]))


def measured(parts: list[list[Tensor]]) -> Spectrum:
    """One list of batches a knot."""
    found = empty(tuple(parts[0][0].shape[1:]))
    for knot, batches in enumerate(parts):
        for batch in batches:
            found.add(knot, batch)
    return found


def assert_same(a: Spectrum, b: Spectrum) -> None:
    for name, value in a.tensors().items():
        torch.testing.assert_close(value, b.tensors()[name], rtol=SUMMATION, atol=0)


# --- statistics


def test_mean_and_standard_error_agree_with_numpy() -> None:
    """Knot by knot, each with a number of images of its own."""
    values = [draws(5 + knot, seed=knot) for knot in range(5)]
    found = measured([[v] for v in values])
    assert found.count.tolist() == [5.0, 6.0, 7.0, 8.0, 9.0]
    for knot, v in enumerate(values):
        np.testing.assert_allclose(found.mean()[knot].numpy(), v.numpy().mean(0), rtol=SUMMATION)
        expected = v.numpy().std(0, ddof=1) / math.sqrt(len(v))
        np.testing.assert_allclose(found.stderr()[knot].numpy(), expected, rtol=1e-9)


def test_batches_change_nothing() -> None:
    values = [draws(12, seed=knot) for knot in range(5)]
    whole = measured([[v] for v in values])
    for sizes in ([1] * 12, [5, 7], [1, 10, 1], [12]):
        assert_same(measured([list(v.split(sizes)) for v in values]), whole)


def test_merging_is_measuring_all_at_once() -> None:
    values = [draws(9, seed=knot) for knot in range(5)]
    a, b = measured([[v[:4]] for v in values]), measured([[v[4:]] for v in values])
    before = [tensor.clone() for part in (a, b) for tensor in part.tensors().values()]
    assert_same(a.merge(b), measured([[v] for v in values]))
    assert_same(b.merge(a), a.merge(b))
    after = [tensor for part in (a, b) for tensor in part.tensors().values()]
    assert all(torch.equal(x, y) for x, y in zip(before, after, strict=True)), "neither is changed"
    assert_same(a.merge(empty()), a)


def test_what_cannot_be_merged() -> None:
    other_knots = empty(knots=Knots((1, 50, 300, 701, 1000)))
    fewer = empty(knots=Knots((1, 1000)))
    turned = Spectrum.empty(KNOTS, SHAPE, no_rotation(2).flip(0))
    for other in (other_knots, fewer, turned, empty((2, 4, 3)), empty((2, 3, 5)), empty((1, 3, 4))):
        with pytest.raises(InputError, match="spectra of other knots, image sizes or colour axes cannot be merged"):
            empty().merge(other)


def test_controls_take_the_scatter_that_they_explain_from_coefficients_and_octaves() -> None:
    """The squares are 1 + z and the first control is z, nine tenths of it; the second says nothing."""
    found = Spectrum.empty(KNOTS, SHAPE, no_rotation(SHAPE[0]), LINEAR.alpha_bar[list(KNOTS.times)])
    draw = torch.Generator().manual_seed(3)
    for knot in range(len(KNOTS.times)):
        for _ in range(3):
            z, rest, second = 0.1 * torch.randn(3, 100, *SHAPE, generator=draw, dtype=torch.float64)
            found.add(knot, 1 + 0.9**0.5 * z + 0.1**0.5 * rest, z, second)
    assert found.bands_sq is not None
    count = found.count[:, None, None]
    plain = Moments(count, found.in_bands(found.total), found.bands_sq)
    bands = found.band_moments
    assert bands is not None
    explained = (bands.stderr() / plain.stderr()).square()
    torch.testing.assert_close(explained, torch.full_like(explained, 0.1), rtol=0.4, atol=0)
    off = (bands.mean() - 1).abs() / bands.stderr()
    assert float(off.max()) < 4.5
    whole = replace(found, controls=None)
    assert float((found.moments.stderr() / whole.moments.stderr()).median()) < 0.4


def test_sizes_of_equal_cells_do_not_merge_either() -> None:
    """Images of 100 and of 101 rows have as many cells, and other frequencies in them."""
    a, b = empty((1, 100, 2)), empty((1, 101, 2))
    assert a.total.shape == b.total.shape
    with pytest.raises(InputError, match="other knots, image sizes"):
        a.merge(b)


def test_one_image_has_no_standard_error_and_equal_images_no_spread() -> None:
    """Rounding could leave a variance just below zero: it must not become a NaN."""
    one = measured([[draws(1)]] * 5)
    assert one.stderr().isnan().all()
    assert not one.mean().isnan().any()
    equal = measured([[draws(1).expand(3, *SHAPE) * 0.1]] * 5)
    assert float(equal.stderr().max()) < 1e-8


# --- cells


@pytest.mark.parametrize("n", [1, 2, 8, 32, 63, 64])
def test_small_axes_have_a_cell_a_frequency(n: int) -> None:
    assert frequency_cells(n).tolist() == list(range(n))


@pytest.mark.parametrize("n", [65, 66, 80, 96, 100, 127, 128, 200, 256, 512, 1000, 1024])
def test_cells_of_large_axes(n: int) -> None:
    """Without gaps and in order, at most 64, the lowest 32 alone, and none but the last narrower than one below it."""
    cells = frequency_cells(n)
    assert cells.dtype == torch.int64
    assert cells.shape == (n,)
    assert (cells.diff() >= 0).all()
    assert cells.unique().tolist() == list(range(int(cells[-1]) + 1))
    assert int(cells[-1]) + 1 <= CELLS
    assert cells[:32].tolist() == list(range(32))
    assert int(cells[-1]) + 1 > CELLS // 2 + 10, "and not only those"
    sizes = cells.bincount()
    ratio = sizes[33:-1] / sizes[32:-2]
    assert float(ratio.min()) >= 0.5, "widths are whole numbers near a geometric row"
    edges = cells.diff().nonzero().flatten()[31:] + 1  # from the first frequency that may have company
    assert int(edges[0]) == 32
    assert float((edges[1:] / edges[:-1]).max()) <= (n / 32) ** (1 / 32) * (1 + 1 / 32) + 1e-9


def test_the_number_of_cells_can_be_chosen() -> None:
    assert frequency_cells(10, most=10).tolist() == list(range(10))
    assert int(frequency_cells(10, most=4)[-1]) <= 3
    assert frequency_cells(10, most=4)[:2].tolist() == [0, 1]


@pytest.mark.parametrize("shape", [(1, 100, 5), (2, 3, 90), (1, 70, 130)], ids=str)
def test_a_cell_holds_the_mean_of_its_coefficients(shape: tuple[int, int, int]) -> None:
    """By a plain loop; the square is that of the mean, which is what its standard error is about."""
    values = draws(3, shape)
    found = measured([[values]] * 5)
    rows, columns = frequency_cells(shape[1]), frequency_cells(shape[2])
    assert found.total.shape == (5, shape[0], int(rows[-1]) + 1, int(columns[-1]) + 1)
    for i in range(found.total.shape[2]):
        for j in range(found.total.shape[3]):
            inside = values[:, :, rows == i][..., columns == j].mean((2, 3))
            torch.testing.assert_close(found.total[2, :, i, j], inside.sum(0), rtol=SUMMATION, atol=0)
            torch.testing.assert_close(found.total_sq[2, :, i, j], inside.square().sum(0), rtol=SUMMATION, atol=0)


@pytest.mark.parametrize("shape", [(1, 100, 5), (2, 3, 90), (1, 70, 130), (3, 8, 8)], ids=str)
def test_every_coefficient_gets_its_cell_s_mean(shape: tuple[int, int, int]) -> None:
    """So the mean over coefficients, what ``corrected`` knows, survives the cells."""
    values = draws(4, shape)
    found = measured([[values]] * 5)
    var = found.var_eps(LINEAR, torch.tensor([300]))
    assert var.shape == (1, *shape)
    rows, columns = frequency_cells(shape[1]), frequency_cells(shape[2])
    for u in (0, 1, shape[1] // 2, shape[1] - 1):
        for v in (0, 1, shape[2] // 2, shape[2] - 1):
            expected = found.mean()[2, :, rows[u], columns[v]]
            torch.testing.assert_close(var[0, :, u, v], expected, rtol=LOGARITHM, atol=0)
    assert float(var.mean()) == pytest.approx(float(values.mean()), rel=1e-10)


def test_photographs_of_any_size_fit_in_a_few_megabytes() -> None:
    """256 x 256 in three colours at 32 knots, however many images: less than 64 MB in all."""
    found = Spectrum.empty(Knots.spread(LINEAR, 32), (3, 256, 256), no_rotation(3))
    assert sum(tensor.numel() * tensor.element_size() for tensor in found.tensors().values()) < 64e6
    found.add(3, draws(1, (3, 256, 256)))
    assert float(found.count[3]) == 1
    assert float(found.total[3].min()) > 0


# --- between knots


def test_at_a_knot_it_is_the_mean() -> None:
    found = measured([[draws(6, seed=knot)] for knot in range(5)])
    var = found.var_eps(LINEAR, torch.tensor(KNOTS.times))
    assert var.dtype == torch.float64
    torch.testing.assert_close(var, found.mean(), rtol=LOGARITHM, atol=0)


def test_between_knots_it_is_smooth_in_logarithms() -> None:
    """Powers of the signal-to-noise ratio, the steepest that there are, are exact everywhere; and times may repeat."""
    snr = LINEAR.alpha_bar / LINEAR.beta_bar
    power = torch.linspace(0, 1.5, 24, dtype=torch.float64).reshape(SHAPE)
    found = told_spectrum(KNOTS.times, lambda t: 0.3 * snr[t] ** power, SHAPE)
    times = torch.tensor([1, 2, 49, 51, 299, 500, 500, 999])
    expected = torch.stack([0.3 * snr[t] ** power for t in times.tolist()])
    torch.testing.assert_close(found.var_eps(LINEAR, times), expected, rtol=1e-9, atol=0)


def test_it_is_never_negative_whatever_was_measured() -> None:
    """A cubic of the values themselves would undershoot here."""
    found = measured([[draws(1, seed=knot) * 10.0 ** (-9 * (knot % 2))] for knot in range(5)])
    var = found.var_eps(LINEAR, torch.arange(1, 1001))
    assert torch.isfinite(var).all()
    assert float(var.min()) > 0
    nothing = measured([[torch.zeros(2, *SHAPE)]] * 5).var_eps(LINEAR, torch.arange(1, 1001))
    assert float(nothing.max()) < 1e-29
    assert float(nothing.min()) >= 0


def test_the_basis_has_the_spectrum_s_own_colours() -> None:
    angle = torch.tensor(0.4, dtype=torch.float64)
    colour = torch.stack([torch.stack([angle.cos(), angle.sin()]), torch.stack([-angle.sin(), angle.cos()])])
    found = Spectrum.empty(KNOTS, SHAPE, colour)
    assert found.basis == cosine(2, 3, 4, colour)
    assert found.basis != cosine(2, 3, 4)


# --- on disk


def test_tensors_there_and_back() -> None:
    for shape in (SHAPE, (1, 100, 70)):
        found = measured([[draws(2, shape, seed=knot)] for knot in range(5)])
        again = Spectrum.from_tensors(found.tensors())
        assert all(torch.equal(value, again.tensors()[name]) for name, value in found.tensors().items())
        assert again.basis == found.basis


@pytest.mark.parametrize("name", ["knots", "count", "total", "total_sq", "colour", "size"])
def test_missing_and_surplus_tensors(name: str) -> None:
    tensors = measured([[draws(2)]] * 5).tensors()
    without = {key: value for key, value in tensors.items() if key != name}
    for wrong in (without, {**tensors, "kurtosis": torch.ones(1)}):
        with pytest.raises(TypeError):
            Spectrum.from_tensors(wrong)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("count", torch.ones(4, dtype=torch.float64)),
        ("total", torch.ones(5, 2, 3, 5, dtype=torch.float64)),
        ("total", torch.ones(5, 1, 3, 4, dtype=torch.float64)),
        ("total_sq", torch.ones(4, 2, 3, 4, dtype=torch.float64)),
        ("colour", torch.ones(3, 3, dtype=torch.float64)),
        ("size", torch.tensor([3, 4, 5])),
        ("size", torch.tensor([4, 3])),
        ("knots", torch.tensor([1, 50, 300, 1000])),
    ],
    ids=lambda value: value if isinstance(value, str) else "x".join(map(str, value.shape)),
)
def test_tensors_that_do_not_fit(name: str, wrong: Tensor) -> None:
    tensors = measured([[draws(2)]] * 5).tensors()
    with pytest.raises(ValueError, match=r"shape|unpack"):
        Spectrum.from_tensors({**tensors, name: wrong})


# --- measured on a perfect model

DATA = DataDescription(2, 5, 4, low=-5.0, high=5.0)
"""So wide that nothing is cut; rounding adds a twelfth of a squared level to every coefficient."""
COLOUR = torch.tensor([[0.8, 0.6], [-0.6, 0.8]], dtype=torch.float64)
FOUR_STANDARD_ERRORS = 4.0


def world() -> DiagonalWorld:
    """Variances from 0.01 to 1 over the cosines, in no order."""
    order = torch.randperm(DATA.dims, generator=torch.Generator().manual_seed(8))
    var = torch.logspace(-2, 0, DATA.dims, dtype=torch.float64)[order].reshape(DATA.shape)
    return DiagonalWorld(LINEAR, var + DATA.level_width**2 / 12, cosine(*DATA.shape, COLOUR))


def examples(of: DiagonalWorld, count: int) -> Examples:
    draw = torch.Generator().manual_seed(2)
    bare = DiagonalWorld(LINEAR, of.var - DATA.level_width**2 / 12, of.basis)
    return Examples(DATA.decode(bare.sample(count, draw)))


def spectrum_of(
    of: DiagonalWorld, times: tuple[int, ...], count: int, *, clip: bool | None, colour: Tensor
) -> Spectrum:
    """As a sweep of the perfect model over ``count`` images measures it."""
    found = estimate(perfect_model(of, DATA), examples(of, count), [Spectrum], times, count, clip=clip, colour=colour)[
        Spectrum
    ]
    assert isinstance(found, Spectrum)
    return found


@pytest.mark.parametrize("clip_x0", [False, True])
def test_a_perfect_mean_leaves_sigmoid_of_log_snr_and_log_variance(clip_x0: bool) -> None:
    """Each coefficient within its own standard errors, which are as large as those of normals: sqrt(2 / n).

    Up to t = 700 no x0_hat of this mean leaves the wide range, so the clip changes nothing.
    """
    truth, count, knots = world(), 2000, Knots((1, 30, 200, 400, 700))
    found = spectrum_of(truth, knots.times, count, clip=clip_x0, colour=COLOUR)
    assert found.count.tolist() == [float(count)] * 5
    expected = torch.stack([truth.var_eps(t) for t in knots.times])
    stderr = found.stderr()
    torch.testing.assert_close(stderr / expected, torch.full_like(stderr, math.sqrt(2 / count)), rtol=0.25, atol=0)
    z = (found.mean() - expected) / stderr
    assert float(z.abs().max()) < 4.5, "200 numbers"
    assert float(z.square().mean()) == pytest.approx(1, abs=0.4)
    by_knot = z.flatten(1).mean(1)  # late knots all see the same images' own scatter
    assert float(by_knot.abs().max()) < FOUR_STANDARD_ERRORS / math.sqrt(DATA.dims)
    assert float(expected[2].max() / expected[2].min()) > 30, "or there would be little to find"


def test_in_the_wrong_colours_it_would_be_another() -> None:
    """The channels of this world are correlated: unturned ones do not have its variances."""
    truth, count = world(), 500
    found = spectrum_of(truth, (200,), count, clip=None, colour=no_rotation(2))
    z = (found.mean() - truth.var_eps(200)) / found.stderr()
    assert float(z.abs().max()) > 10
    seen = truth.basis.power_in(cosine(*DATA.shape), truth.var_eps(200))
    assert float(((found.mean() - seen) / found.stderr()).abs().max()) < FOUR_STANDARD_ERRORS


def test_its_mean_over_the_coefficients_is_the_table_s() -> None:
    """Two sweeps with noise of their own agree within their standard errors, when neither clips; and exact ones do."""
    truth, count, times = world(), 500, (1, 100, 500, 900)
    spectrum = spectrum_of(truth, times, count, clip=False, colour=COLOUR)
    table = estimate(perfect_model(truth, DATA), examples(truth, count), [VarianceTable], times, count)[VarianceTable]
    mean, stderr = spectrum.mean().mean((1, 2, 3)), spectrum.stderr().square().mean((1, 2, 3)).div(DATA.dims).sqrt()
    for knot, t in enumerate(times):
        both = math.hypot(float(stderr[knot]), float(table.error_moments.stderr()[t]))
        assert float(mean[knot]) == pytest.approx(float(table.error_moments.mean()[t]), abs=FOUR_STANDARD_ERRORS * both)
    exact = truth.spectrum(times).mean().mean((1, 2, 3))
    torch.testing.assert_close(exact, truth.table().error_sq[list(times)], rtol=1e-12, atol=0)


def test_the_oracle_s_error_is_what_the_definition_says() -> None:
    """E[(U (eps - eps_hat))^2] by plain draws, to five standard errors: the closed form leans on nothing of ours."""
    truth, count, t = world(), 20_000, 300
    draw = torch.Generator().manual_seed(1)
    x_0 = truth.sample(count, draw)
    eps = torch.randn(x_0.shape, generator=draw, dtype=torch.float64)
    error = truth.basis.forward(eps - truth.eps_hat(q_sample(LINEAR, x_0, t, eps), t)).square().mean(0)
    ratio = error / truth.var_eps(t) - 1
    assert float(ratio.abs().max()) < 5 * math.sqrt(2 / count)
