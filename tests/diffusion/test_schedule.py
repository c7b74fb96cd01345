"""The noise schedules against the papers' formulas in 50 digits, and everything that is refused."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch

from diffcov.diffusion.schedule import FAMILIES, NoiseSchedule
from diffcov.errors import InputError
from oracles.exact import MP, ExactSchedule, exact, from_betas, relative_error

EXACT = 1e-12
"""Relative. Float64 leaves 2e-16 a rounding; a single subtraction of near neighbours would cost 1e-10 or more."""

SIZES = [("linear", 21), ("linear", 100), ("linear", 1000), ("linear", 4000)]
SIZES += [(family, T) for family in ("cosine", "vp", "edm") for T in (1, 2, 20, 100, 1000, 4000)]
NAMED = [NoiseSchedule.linear(100), NoiseSchedule.cosine(50), NoiseSchedule.vp(30), NoiseSchedule.edm(20)]
NAMED += [NoiseSchedule.from_alpha_bar([0.9, 0.5, 0.1, 1e-3]), NoiseSchedule.from_betas([0.1, 0.5, 0.9])]
NAMED += [NoiseSchedule.from_betas([0.1, 0.5, 1.0]), NoiseSchedule.from_alpha_bar([0.9, 0.5, 0.0])]


@pytest.mark.parametrize(("family", "T"), SIZES)
def test_every_value_is_exact(family: str, T: int) -> None:
    schedule, truth = FAMILIES[family](T), exact(family, T)
    for t in range(T + 1):
        assert relative_error(float(schedule.alpha_bar[t]), truth.alpha_bar[t]) < EXACT, t
        assert relative_error(float(schedule.beta_bar[t]), truth.beta_bar(t)) < EXACT, t
        assert relative_error(float(schedule.ratio[t]), truth.beta_bar(t) / truth.alpha_bar[t]) < EXACT, t


@pytest.mark.parametrize(("family", "T"), SIZES)
def test_every_short_jump_is_exact(family: str, T: int) -> None:
    """beta_ts for t - s = 1, the smallest of all differences: 2.5e-5 at T = 4000."""
    schedule, truth = FAMILIES[family](T), exact(family, T)
    for t in range(1, T + 1):
        assert relative_error(-math.expm1(schedule.log_alpha_ts(t - 1, t)), truth.beta_ts(t - 1, t)) < EXACT, t


@pytest.mark.parametrize("family", ["linear", "cosine", "vp", "edm"])
@pytest.mark.parametrize(("s", "t"), [(0, 1), (0, 4000), (1, 4000), (1999, 2003), (1000, 3000), (3998, 4000)])
def test_long_jumps_are_exact(family: str, s: int, t: int) -> None:
    found = -math.expm1(FAMILIES[family](4000).log_alpha_ts(s, t))
    assert relative_error(found, exact(family, 4000).beta_ts(s, t)) < EXACT


@pytest.mark.parametrize(("family", "T"), SIZES)
def test_shape_and_order(family: str, T: int) -> None:
    schedule = FAMILIES[family](T)
    assert schedule.T == T
    for values in (schedule.alpha_bar, schedule.beta_bar, schedule.log_alpha_bar, schedule.ratio):
        assert values.shape == (T + 1,)
        assert values.dtype == torch.float64
    assert float(schedule.alpha_bar[0]) == 1.0
    assert float(schedule.beta_bar[0]) == 0.0
    assert bool((schedule.alpha_bar.diff() < 0).all())
    assert bool((schedule.alpha_bar > 0).all())


def test_published_numbers() -> None:
    """beta_1 = 1e-4 and beta_T = 0.02 of DDPM; alpha_bar_T = 2.4e-9 of the clipped cosine schedule."""
    linear = NoiseSchedule.linear()
    assert float(linear.beta_bar[1]) == pytest.approx(1e-4, rel=EXACT)
    assert -math.expm1(float(linear.log_alpha[-1])) == pytest.approx(0.02, rel=EXACT)
    assert float(NoiseSchedule.cosine().alpha_bar[-1]) == pytest.approx(2.4e-9, rel=0.02)


@pytest.mark.parametrize("T", [100, 1000, 4000])
def test_cosine_clips_only_the_last_beta(T: int) -> None:
    beta = -NoiseSchedule.cosine(T).log_alpha.expm1()
    assert float(beta[-1]) == pytest.approx(0.999, rel=EXACT)
    assert float(beta[:-1].max()) < 0.999


@pytest.mark.parametrize("T", [1, 10, 20])
def test_linear_with_few_steps_is_refused(T: int) -> None:
    with pytest.raises(InputError, match=rf"linear schedule with T={T} .* use T > 20 or the cosine schedule"):
        NoiseSchedule.linear(T)


@pytest.mark.parametrize("family", ["linear", "cosine", "vp", "edm"])
@pytest.mark.parametrize("T", [0, -3])
def test_no_steps_are_refused(family: str, T: int) -> None:
    with pytest.raises(InputError, match=f"needs T >= 1, found {T}"):
        FAMILIES[family](T)


@pytest.mark.parametrize(
    ("values", "t"),
    [([0.9, 0.9], 2), ([0.5, 0.6], 2), ([1.0, 0.5], 1), ([0.0, 0.0], 1), ([0.5, -0.1], 2), ([0.5, math.nan], 2)],
)
def test_alpha_bar_that_does_not_fall_is_refused(values: list[float], t: int) -> None:
    with pytest.raises(InputError, match=rf"fall strictly from 1 and stay above 0.*custom.*T=2 breaks this at t={t}"):
        NoiseSchedule.from_alpha_bar(values)


def test_an_empty_schedule_is_refused() -> None:
    with pytest.raises(InputError, match="at least one step"):
        NoiseSchedule.from_alpha_bar([])


@pytest.mark.parametrize("schedule", NAMED, ids=lambda s: s.name)
def test_spec_round_trip(schedule: NoiseSchedule) -> None:
    again = NoiseSchedule.from_spec(json.loads(json.dumps(schedule.spec)))
    assert again == schedule
    assert again.fingerprint == schedule.fingerprint
    assert hash(again) == hash(schedule)
    assert torch.equal(again.log_alpha, schedule.log_alpha)


def test_equal_schedules_have_equal_fingerprints() -> None:
    """JSON and a command line may spell 20.0 as 20."""
    whole, point = NoiseSchedule.vp(100, 0.1, 20), NoiseSchedule.vp(100, 0.1, 20.0)
    assert whole == point
    assert whole.fingerprint == point.fingerprint
    assert hash(whole) == hash(point)


@pytest.mark.parametrize("spec", [{"name": "sigmoid", "T": 10}, {"T": 10}, {"name": "linear", "T": 100, "gamma": 1}])
def test_unknown_spec_is_refused(spec: dict[str, object]) -> None:
    with pytest.raises(InputError, match="not a noise schedule that diffcov knows"):
        NoiseSchedule.from_spec(spec)


def test_fingerprints_tell_schedules_apart() -> None:
    different = [*NAMED, NoiseSchedule.linear(101), NoiseSchedule.linear(100, beta_end=0.021)]
    different += [NoiseSchedule.from_alpha_bar([0.9, 0.5, 0.1, 2e-3])]
    assert len({s.fingerprint for s in different}) == len(different)
    assert all(a != b for i, a in enumerate(different) for b in different[:i])


@pytest.mark.parametrize("family", ["linear", "cosine", "vp", "edm"])
def test_custom_reproduces_a_family(family: str) -> None:
    """To the precision that alpha_bar itself carries: 2^-53 of a number near 1, over beta_bar_1 = 1e-5 .. 1e-4."""
    lost_in_alpha_bar = 2e-11
    original = FAMILIES[family](1000)
    custom = NoiseSchedule.from_alpha_bar(original.alpha_bar[1:])
    torch.testing.assert_close(custom.alpha_bar, original.alpha_bar, rtol=EXACT, atol=0)
    torch.testing.assert_close(custom.beta_bar, original.beta_bar, rtol=lost_in_alpha_bar, atol=0)


@pytest.mark.parametrize(
    "schedule", [NoiseSchedule.linear(), NoiseSchedule.cosine(), NoiseSchedule.vp(), NoiseSchedule.edm()]
)
def test_the_usual_schedules_raise_no_warning(schedule: NoiseSchedule) -> None:
    assert schedule.warning is None


def test_a_schedule_that_ends_early_says_so() -> None:
    unscaled_linear_200 = NoiseSchedule.from_alpha_bar(torch.linspace(1 - 1e-4, 1 - 0.02, 200).double().cumprod(0))
    assert "ends at alpha_bar=0.132: x_T is not pure noise" in str(unscaled_linear_200.warning)


def test_a_schedule_that_ends_too_low_says_so() -> None:
    assert "x_0 can hardly be recovered" in str(NoiseSchedule.from_alpha_bar([0.5, 1e-11]).warning)


@pytest.mark.parametrize("small", [1e-11, 1e-14, 1e-17, 1e-300])
def test_however_little_is_left_of_the_signal_it_is_kept(small: float) -> None:
    """A difference from what was left before would round it, or take it for nothing."""
    schedule = NoiseSchedule.from_alpha_bar([0.5, small])
    assert float(schedule.alpha_bar[2]) == pytest.approx(small, rel=EXACT, abs=0)
    assert not schedule.ends_at_zero


@pytest.mark.parametrize(("s", "t"), [(1, 1), (2, 1), (-1, 3), (0, 101), (5, 0)])
def test_times_out_of_order_are_refused(s: int, t: int) -> None:
    with pytest.raises(InputError, match=f"0 <= s < t <= T=100, found s={s}, t={t}"):
        NoiseSchedule.linear(100).log_alpha_ts(s, t)


# --- betas, and schedules that end at nothing

BETAS = [1e-5, 1e-4, 0.02, 0.5, 0.999]


def zero_terminal(T: int) -> tuple[NoiseSchedule, ExactSchedule]:
    """The linear betas for T steps, the last of which takes all that is left."""
    betas = torch.linspace(0.1 / T, 20 / T, T, dtype=torch.float64)
    betas[-1] = 1.0
    return NoiseSchedule.from_betas(betas), from_betas([MP.mpf(float(beta)) for beta in betas])


@pytest.mark.parametrize("kind", [list, tuple, torch.tensor, lambda v: torch.tensor(v, dtype=torch.float64)])
def test_betas_are_what_each_step_destroys(kind: Any) -> None:
    schedule = NoiseSchedule.from_betas(kind(BETAS))
    assert (schedule.name, schedule.T) == ("betas", 5)
    rel = 1e-7 if isinstance(kind(BETAS), torch.Tensor) and kind(BETAS).dtype == torch.float32 else EXACT
    assert (-schedule.log_alpha.expm1()).tolist() == pytest.approx([0.0, *BETAS], rel=rel)
    kept = [math.prod(1 - beta for beta in BETAS[:t]) for t in range(6)]
    assert schedule.alpha_bar.tolist() == pytest.approx(kept, rel=max(rel, 1e-12), abs=1e-7 * (rel == 1e-7))


@pytest.mark.parametrize("T", [2, 100, 1000, 4000])
def test_betas_are_exact_at_every_time_also_where_nothing_is_left(T: int) -> None:
    schedule, truth = zero_terminal(T)
    for t in range(schedule.T + 1):
        assert relative_error(float(schedule.alpha_bar[t]), truth.alpha_bar[t]) < EXACT, t
        assert relative_error(float(schedule.beta_bar[t]), truth.beta_bar(t)) < EXACT, t
        if 0 < t < schedule.T:
            assert relative_error(float(schedule.ratio[t]), truth.beta_bar(t) / truth.alpha_bar[t]) < EXACT, t
    assert (float(schedule.alpha_bar[-1]), float(schedule.beta_bar[-1])) == (0.0, 1.0)


@pytest.mark.parametrize("family", ["linear", "cosine", "vp", "edm"])
def test_betas_reproduce_a_family(family: str) -> None:
    """Unlike alpha_bar they lose nothing: they are small where it is near 1."""
    original = FAMILIES[family](1000)
    again = NoiseSchedule.from_betas(-original.log_alpha[1:].expm1())
    torch.testing.assert_close(again.alpha_bar, original.alpha_bar, rtol=EXACT, atol=0)
    torch.testing.assert_close(again.beta_bar, original.beta_bar, rtol=EXACT, atol=0)
    assert again != original


@pytest.mark.parametrize(
    ("betas", "t"),
    [
        ([0.0, 0.5], 1),
        ([0.1, -0.1], 2),
        ([0.1, 1.5], 2),
        ([0.1, 1.0, 0.1], 2),
        ([1.0, 1.0], 1),
        ([0.1, math.nan], 2),
        ([math.inf, 0.1], 1),
    ],
    ids=str,
)
def test_betas_outside_their_range_are_refused(betas: list[float], t: int) -> None:
    with pytest.raises(InputError, match=rf"fall strictly from 1 .*the betas schedule with T=.* breaks this at t={t}$"):
        NoiseSchedule.from_betas(betas)


def test_no_betas_are_refused() -> None:
    with pytest.raises(InputError, match="at least one step"):
        NoiseSchedule.from_betas([])


def test_schedules_say_whether_they_end_at_nothing() -> None:
    ending = [NoiseSchedule.from_betas([0.5, 1.0]), NoiseSchedule.from_betas([1.0])]
    ending.append(NoiseSchedule.from_alpha_bar([0.5, 0.0]))
    assert [schedule.ends_at_zero for schedule in ending] == [True, True, True]
    assert not any(FAMILIES[family](1000).ends_at_zero for family in ("linear", "cosine", "vp", "edm"))
    assert not NoiseSchedule.from_betas([0.5, 0.999999]).ends_at_zero


def test_a_schedule_that_ends_at_nothing_raises_no_warning() -> None:
    """x_T is pure noise, and whoever says v or x_0 needs no more."""
    assert zero_terminal(1000)[0].warning is None


def test_where_nothing_is_left_errors_are_in_the_unit_of_the_image() -> None:
    """r_T is 1 there, and bbar / abar as always before."""
    schedule = NoiseSchedule.from_betas([0.1, 0.5, 1.0])
    assert schedule.ratio.tolist() == pytest.approx([0, 1 / 9, 11 / 9, 1], rel=EXACT)


@pytest.mark.parametrize("s", [0, 1, 500, 999])
def test_the_last_jump_forgets_everything(s: int) -> None:
    assert zero_terminal(1000)[0].log_alpha_ts(s, 1000) == -math.inf


@pytest.mark.parametrize("family", ["linear", "cosine", "vp", "edm"])
def test_log_snr_is_exact_and_falls(family: str) -> None:
    schedule, truth = FAMILIES[family](1000), exact(family, 1000)
    assert float(schedule.log_snr[0]) == math.inf
    for t in range(1, 1001):
        expected = MP.log(truth.alpha_bar[t] / truth.beta_bar(t))
        assert float(abs(MP.mpf(float(schedule.log_snr[t])) - expected)) < 1e-12, t
    assert bool((schedule.log_snr.diff() < 0).all())


def test_log_snr_ends_at_minus_infinity_where_nothing_is_left() -> None:
    schedule = NoiseSchedule.from_betas([0.1, 0.1, 1.0])
    assert float(schedule.log_snr[-1]) == -math.inf
    assert bool(schedule.log_snr[1:-1].isfinite().all())


@pytest.mark.parametrize("name", ["linear", "cosine", "vp", "edm", "zero terminal"])
@pytest.mark.parametrize("t", [2, 10, 500, 1000])
def test_the_gain_of_a_step_is_exact(name: str, t: int) -> None:
    """rho = abar_s / bbar_s - abar_t / bbar_t, for all s at once."""
    schedule, truth = zero_terminal(1000) if name == "zero terminal" else (FAMILIES[name](1000), exact(name, 1000))
    found = schedule.snr_gain(torch.arange(1, t), t)
    assert found.shape == (t - 1,)
    for s in range(1, t):
        snr_s, snr_t = (truth.alpha_bar[u] / truth.beta_bar(u) for u in (s, t))
        assert relative_error(float(found[s - 1]), snr_s - snr_t) < 1e-9, s


@pytest.mark.parametrize("schedule", NAMED, ids=lambda schedule: schedule.spec["name"])
def test_until_a_time_it_is_the_same_schedule(schedule: NoiseSchedule) -> None:
    for t in (1, schedule.T - 1, schedule.T):
        found = schedule.until(t)
        assert t == found.T
        assert torch.equal(found.alpha_bar, schedule.alpha_bar[: t + 1])
        assert torch.equal(found.beta_bar, schedule.beta_bar[: t + 1])
