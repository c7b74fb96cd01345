"""Ratios of squared error to variance: 1 in exact worlds, by hand, and the same for every cut into batches."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import Tensor

from diffcov.basis import PIXEL, Basis, cosine
from diffcov.covariance import registry
from diffcov.covariance.base import Covariance
from diffcov.covariance.ingredients import FittedHead, Ingredients
from diffcov.covariance.npr import NPR
from diffcov.covariance.small import Small
from diffcov.data import DataDescription
from diffcov.denoiser.base import View
from diffcov.denoiser.look import Look
from diffcov.denoiser.noised import Noised
from diffcov.denoiser.through import through
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.forward import measure
from diffcov.engines.meters.calibration import Calibration, CalibrationMeter
from diffcov.errors import NonFiniteError
from diffcov.nets.features import Features
from oracles.diagonal import DiagonalWorld, Told
from oracles.tiny import DATA, takes_both_signs, tiny_covariance, tiny_examples, tiny_model

LINEAR = NoiseSchedule.linear(1000)
RGB = DataDescription(3, 8, 8)
COUNT, TIMES = 600, (20, 300, 900)


def off_by(error: Tensor, t: int, first: int = 0) -> Noised:
    """Images that the mean takes for 0."""
    nothing = torch.zeros_like(error)
    look = Look(nothing, t, nothing, nothing, nothing, Features(nothing, nothing))
    return Noised(LINEAR, error, nothing, look, first)


def textured(basis: Basis = PIXEL) -> DiagonalWorld:
    """Variances from 0.01 to 1, in no order."""
    order = torch.randperm(RGB.dims, generator=torch.Generator().manual_seed(8))
    var = torch.logspace(-2, 0, RGB.dims, dtype=torch.float64)[order].reshape(RGB.shape)
    return DiagonalWorld(LINEAR, var, basis)


def flat() -> DiagonalWorld:
    return DiagonalWorld(LINEAR, torch.full(RGB.shape, 0.25, dtype=torch.float64))


def one_number(world: DiagonalWorld) -> Covariance:
    return Told(LINEAR, lambda t: world.cov_x0(t).mean())


def calibrate(world: DiagonalWorld, covariances: dict[str, Covariance], sizes: tuple[int, ...]) -> CalibrationMeter:
    draw, first = torch.Generator().manual_seed(1), 0
    meter = CalibrationMeter(RGB, covariances, TIMES)
    errors = {t: world.noised(world.sample(COUNT, draw), t, draw).error for t in TIMES}
    for size in sizes:
        for t, error in errors.items():
            meter.add(off_by(error[first : first + size], t, first))
        first += size
    assert first == COUNT
    return meter


def assert_ratio(found: Calibration, expected: float) -> None:
    """Five standard errors of a mean of n squares of normals, in all, every band and every fifth."""
    per_band = 3 * COUNT * torch.tensor([1, 3, 11, 41, 8], dtype=torch.float64)
    assert float(per_band.sum()) == RGB.dims * COUNT
    for m in range(len(TIMES)):
        overall = float(found.ratio[m])
        assert overall == pytest.approx(expected, rel=5 * math.sqrt(2 / (RGB.dims * COUNT)))
        assert (found.by_band[m] / expected - 1).abs().le(5 * (2 / per_band).sqrt()).all(), found.by_band[m]
        if found.by_quantile is not None:
            bound = 6 * math.sqrt(2 / (RGB.dims / 5 * COUNT))  # sums weigh the larger variances more
            assert (found.by_quantile[m] / expected - 1).abs().le(bound).all(), found.by_quantile[m]


# --- exact worlds


@pytest.mark.parametrize(("scale", "ratio"), [(1.0, 1.0), (2.0, 0.5), (0.25, 4.0)])
@pytest.mark.parametrize("kind", ["scalar", "pixel", "cosine"])
def test_the_right_covariance_has_ratio_one_everywhere(kind: str, scale: float, ratio: float) -> None:
    """And twice the covariance a half, in every band and every fifth."""
    world = {"scalar": flat(), "pixel": textured(), "cosine": textured(cosine(3, 8, 8))}[kind]
    scalar = Told(LINEAR, lambda t: scale * world.cov_x0(t).mean())
    covariance = scalar if kind == "scalar" else world.known(scale)
    found = calibrate(world, {"it": covariance}, (COUNT,)).result("it")
    assert found.times == TIMES
    assert found.bands == ("0", "1-2", "2-4", "4-8", "8-16")
    assert (found.by_quantile is None) == (kind == "scalar")
    assert found.floor_share.tolist() == [0, 0, 0]
    assert_ratio(found, ratio)
    assert found.rms_log == pytest.approx(abs(math.log(ratio)), abs=0.1)


def test_one_number_hides_what_bands_and_fifths_show() -> None:
    """Texture: each wrong variance is told from the right ones, though the sums over all values agree."""
    world = textured()
    found = calibrate(world, {"shuffled": Told(LINEAR, lambda t: world.cov_x0(t).flip(1, 2))}, (COUNT,)).result(
        "shuffled"
    )
    assert found.by_quantile is not None
    early = found.by_quantile[0]  # t = 20: nearly flat, as the data hardly matters; t = 900 is all texture
    late = found.by_quantile[-1]
    assert float(late[0]) > 4
    assert float(late[-1]) < 0.7
    assert float(late[0] / late[-1]) > 2 * float(early[0] / early[-1])


def test_a_scalar_hides_the_frequencies_that_bands_show() -> None:
    """Power that falls with frequency: the scalar of the right total is too small for the mean, too large for edges."""
    u = torch.arange(8, dtype=torch.float64)
    power = (0.5 / (1 + u[:, None].square() + u.square())).expand(RGB.shape)
    world = DiagonalWorld(LINEAR, power.clone(), cosine(3, 8, 8))
    meter = calibrate(world, {"scalar": one_number(world), "exact": world.known()}, (COUNT,))
    found, exact = meter.result("scalar"), meter.result("exact")
    assert float(found.ratio[-1]) == pytest.approx(1, abs=0.05)
    bands = found.by_band[-1]
    assert float(bands[0]) > 5
    assert (bands[1:] < bands[:-1]).all()
    assert float(bands[-1]) < 0.3
    assert_ratio(exact, 1.0)


@pytest.mark.parametrize("sizes", [(300, 300), (1, 599), (200, 250, 150)])
def test_batches_do_not_matter(sizes: tuple[int, ...]) -> None:
    world = textured()
    covariances = {"pixel": world.known(), "scalar": one_number(world)}
    whole, parts = calibrate(world, covariances, (COUNT,)), calibrate(world, covariances, sizes)
    for name in covariances:
        a, b = whole.result(name), parts.result(name)
        assert (a.by_quantile is None) == (name == "scalar") == (b.by_quantile is None)
        for field in ("ratio", "floor_share", "by_band", *(["by_quantile"] if name == "pixel" else [])):
            assert getattr(b, field).dtype == torch.float64
            torch.testing.assert_close(getattr(b, field), getattr(a, field), rtol=1e-12, atol=1e-12)


# --- nothing to compare with


def test_small_has_no_ratio() -> None:
    found = calibrate(flat(), {"small": Small(Ingredients.of(LINEAR, RGB))}, (COUNT,)).result("small")
    assert found.ratio.isnan().all()
    assert found.by_band.isnan().all()
    assert found.floor_share.tolist() == [1, 1, 1]
    assert math.isnan(found.rms_log)
    plain = found.as_dict()
    assert plain == {
        "ratio": [None] * 3, "floor_share": [1.0] * 3, "by_band": [[None] * 5] * 3, "by_quantile": None,
        "rms_log": None,
    }  # fmt: skip
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


def test_values_on_the_floor_are_counted_and_left_out() -> None:
    """Negative variances are clipped to 0 first; the ratio is the mean over the others."""
    data = DataDescription(1, 1, 10)
    var = torch.tensor([-3.0, 0, 2, 2, 4, 4, 4, 4, 8, 8], dtype=torch.float64).reshape(data.shape)
    meter = CalibrationMeter(data, {"it": Told(LINEAR, lambda t: var)}, [5])
    meter.add(off_by(torch.full((1, *data.shape), 2.0, dtype=torch.float64), 5))
    found = meter.result("it")
    assert found.floor_share.tolist() == pytest.approx([0.2])
    assert found.ratio.tolist() == pytest.approx([(2 * 4 / 2 + 4 * 4 / 4 + 2 * 4 / 8) / 8])


# --- by hand


def test_fifths_by_hand() -> None:
    """Two values each, ordered by variance within the image: sum of squared errors over sum of variances."""
    data = DataDescription(1, 2, 5)
    var = torch.tensor([[9.0, 1, 7, 3, 5, 0.5, 8, 2, 6, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]], dtype=torch.float64)
    error = torch.tensor([[3.0, 1, 0, 1, 2, 1, 2, 0, 1, 0], [1, 1, 1, 1, 1, 2, 2, 2, 2, 2]], dtype=torch.float64)
    told = Told(LINEAR, lambda t: var.reshape(2, *data.shape))
    meter = CalibrationMeter(data, {"it": told}, [3, 5])
    meter.add(off_by(error.reshape(2, *data.shape), 5))
    found = meter.result("it")
    assert found.by_quantile is not None
    # Image 1 in order: .5 1 | 2 3 | 4 5 | 6 7 | 8 9, errors 1 1 | 0 1 | 0 2 | 1 0 | 2 3.
    errors = [2 + 2, 1 + 2, 4 + (1 + 4), 1 + 8, (4 + 9) + 8]
    variances = [1.5 + 3, 5 + 7, 9 + 11, 13 + 15, 17 + 19]
    expected = [e / v for e, v in zip(errors, variances, strict=True)]
    assert found.by_quantile[1].tolist() == pytest.approx(expected, rel=1e-12)
    assert found.ratio[1].item() == pytest.approx(float((error.square() / var).mean()), rel=1e-12)
    assert found.ratio[0].isnan()
    assert found.by_quantile[0].isnan().all(), "t = 3 was not looked at"


def test_bands_by_hand() -> None:
    """An error of known cosines: 3 of the mean, -2 of (0, 1), 4 of (0, 2); the variance is 2 for every pixel."""
    data = DataDescription(1, 1, 4)
    mean, second = torch.tensor([1.0, 1, 1, 1]).double() / 2, torch.tensor([1.0, -1, -1, 1]).double() / 2
    first = (math.pi / 8 * torch.tensor([1.0, 3, 5, 7]).double()).cos() / math.sqrt(2)
    error = (3 * mean - 2 * first + 4 * second).reshape(1, *data.shape)
    two = torch.tensor(2.0, dtype=torch.float64)
    meter = CalibrationMeter(data, {"it": Told(LINEAR, lambda t: two)}, [5])
    meter.add(off_by(error, 5))
    found = meter.result("it")
    assert found.bands == ("0", "1-2", "2-4")
    assert found.by_band[0].tolist() == pytest.approx([9 / 2, 4 / 2, (16 + 0) / 2 / 2], rel=1e-12)
    assert found.ratio.tolist() == pytest.approx([29 / 2 / 4], rel=1e-12)
    logs = [math.log(4.5), math.log(2), math.log(4)]
    assert found.rms_log == pytest.approx(math.sqrt(sum(v * v for v in logs) / 3), rel=1e-12)


def test_pixels_of_unequal_variance_spread_over_the_bands() -> None:
    """Two pixels of variances 1 and 3: both cosines have variance 2, and the error (1, -1) is all difference."""
    data = DataDescription(1, 1, 2)
    var = torch.tensor([1.0, 3.0], dtype=torch.float64).reshape(data.shape)
    meter = CalibrationMeter(data, {"it": Told(LINEAR, lambda t: var)}, [5])
    meter.add(off_by(torch.tensor([1.0, -1.0], dtype=torch.float64).reshape(1, *data.shape), 5))
    found = meter.result("it")
    assert found.by_band[0].tolist() == pytest.approx([0, 2 / 2], abs=1e-12)
    assert found.ratio.tolist() == pytest.approx([(1 + 1 / 3) / 2])


# --- a real network


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_real_network_in_other_batches(batch_size: int) -> None:
    model = tiny_model(20)
    seen = through(model, View(clip_x0=True))
    covariances = {name: tiny_covariance(name, model) for name in registry.COVARIANCES}
    found = []
    for size in (6, batch_size):
        meter = CalibrationMeter(DATA, covariances, (2, 9, 20))
        measure(seen, tiny_examples(6), [meter], batch_size=size)
        found.append({name: meter.result(name) for name in covariances})
    one_number = {"small", "large", "analytic", "corrected"}
    for name, whole in found[0].items():
        parts = found[1][name]
        assert (whole.by_quantile is None) == (parts.by_quantile is None) == (name in one_number)
        torch.testing.assert_close(parts.floor_share, whole.floor_share, rtol=0, atol=1e-12)
        by_quantile = [found.by_quantile for found in (parts, whole) if found.by_quantile is not None]
        if takes_both_signs(name):  # ratios of values near 0 are at the mercy of float32
            torch.testing.assert_close(*(rows[:, 2:] for rows in by_quantile), rtol=1e-3, atol=0)
            continue
        torch.testing.assert_close(parts.ratio, whole.ratio, rtol=1e-4, atol=0, equal_nan=True)
        torch.testing.assert_close(parts.by_band, whole.by_band, rtol=1e-4, atol=0, equal_nan=True)
        if by_quantile:
            torch.testing.assert_close(*by_quantile, rtol=1e-4, atol=0)


def test_errors_and_variances_meet_where_the_images_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """One number a time is made on the CPU, and images may be elsewhere."""
    met: list[set[str]] = []

    def meet(sums: object, m: int, error_sq: Tensor, var: Tensor, *rest: Tensor) -> None:
        met.append({error_sq.device.type, var.device.type})

    for method in ("add", "add_bands"):
        monkeypatch.setattr(f"diffcov.engines.meters.calibration._Sums.{method}", meet)
    numbers = {"small": Small(Ingredients.of(LINEAR, RGB)), "told": one_number(flat())}
    meter = CalibrationMeter(RGB, numbers, [5])
    meter.add(off_by(torch.ones(2, *RGB.shape, dtype=torch.float64, device="meta"), 5))
    assert met == [{"meta"}] * 4


# --- refusals


def test_a_covariance_that_gives_nan_is_named() -> None:
    """At the time at which it does, and for one pixel alone."""

    def head(features: object, t: Tensor) -> Tensor:
        found = torch.full((2, *RGB.shape), 0.5)
        found[1, 2, 3, 4] = math.nan
        return found

    meter = CalibrationMeter(RGB, {"it": NPR(Ingredients.of(LINEAR, RGB, FittedHead(head)))}, [5])
    with pytest.raises(NonFiniteError, match="the npr covariance gives NaN at t=5: its table or head is broken"):
        meter.add(off_by(torch.ones(2, *RGB.shape, dtype=torch.float64), 5))
