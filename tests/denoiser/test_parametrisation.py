"""What a network's output means, against 50 digits at every noise level, and how much of it float32 keeps."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from diffcov.data import DataDescription
from diffcov.denoiser.mean_model import MeanModel
from diffcov.denoiser.parametrisation import PARAMETRISATIONS, Parametrisation
from diffcov.diffusion.level import Level, q_sample
from diffcov.diffusion.schedule import FAMILIES, NoiseSchedule
from diffcov.errors import InputError
from oracles.exact import MP, ExactSchedule, exact, from_betas

T = 1000
TIMES = torch.arange(1, T + 1)
FAMILY_NAMES = ["linear", "cosine", "vp"]

EXACT = 1e-14
"""Relative to the largest term. Measured: 8.1e-15 (x0 to eps, cosine), most of it alpha_bar's, a sum of logarithms. A
way round through the other estimate would cost 2e4 times as much at the last noise level, and 1e2 at the first."""

ROUNDING = 1e-10
"""Absolute, for chains of a few float64 operations with x_0 up to 1 and 1/sqrt(abar_t) up to 157 (linear)."""

V_IN_FLOAT32 = 1.5e-7
"""Relative to |a x_t| + |b v|. Measured over 64,000 values at all t of each schedule: 1.43e-7, 2.4 times 2^-24: a and b
are rounded, and so are two products and their difference."""

DATA = DataDescription(1, 2, 2)


def images(seed: int) -> Tensor:
    return torch.randn(4, 3, 5, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def values(seed: int) -> Tensor:
    """(T, 1, 1, 1) float64 that are float32 numbers, one a time."""
    return torch.randn(T, 1, 1, 1, generator=torch.Generator().manual_seed(seed)).double()


@dataclass(frozen=True)
class Exact:
    """The definitions at one level in 50 digits, each with the size of its largest term."""

    a: MP.mpf
    b: MP.mpf

    def x0(self, predicts: str, x_t: MP.mpf, output: MP.mpf) -> tuple[MP.mpf, MP.mpf]:
        """x_0 = (x_t - b eps) / a; v = a eps - b x_0 and x_t = a x_0 + b eps give a x_t - b v, as a^2 + b^2 = 1."""
        if predicts == "eps":
            return (x_t - self.b * output) / self.a, max(abs(x_t), abs(self.b * output)) / self.a
        if predicts == "v":
            return self.a * x_t - self.b * output, max(abs(self.a * x_t), abs(self.b * output))
        return output, abs(output)

    def eps(self, predicts: str, x_t: MP.mpf, output: MP.mpf) -> tuple[MP.mpf, MP.mpf]:
        """eps = (x_t - a x_0) / b, and b x_t + a v."""
        if predicts == "x0":
            return (x_t - self.a * output) / self.b, max(abs(x_t), abs(self.a * output)) / self.b
        if predicts == "v":
            return self.b * x_t + self.a * output, max(abs(self.b * x_t), abs(self.a * output))
        return output, abs(output)

    def target(self, predicts: str, x_0: MP.mpf, eps: MP.mpf) -> tuple[MP.mpf, MP.mpf]:
        """v = a eps - b x_0."""
        if predicts == "v":
            return self.a * eps - self.b * x_0, max(abs(self.a * eps), abs(self.b * x_0))
        chosen = eps if predicts == "eps" else x_0
        return chosen, abs(chosen)


def levels(truth: ExactSchedule) -> list[Exact]:
    """Those of t = 1..T."""
    return [Exact(MP.sqrt(truth.alpha_bar[t]), MP.sqrt(truth.beta_bar(t))) for t in range(1, truth.T + 1)]


@cache
def zero_terminal() -> tuple[NoiseSchedule, ExactSchedule]:
    """The linear betas, the last of which takes all that is left."""
    betas = torch.linspace(1e-4, 0.02, T, dtype=torch.float64)
    betas[-1] = 1.0
    return NoiseSchedule.from_betas(betas), from_betas([MP.mpf(float(beta)) for beta in betas])


def known(name: str) -> tuple[NoiseSchedule, ExactSchedule]:
    return zero_terminal() if name == "zero terminal" else (FAMILIES[name](T), exact(name, T))


def farthest(found: Tensor, expected: list[tuple[MP.mpf, MP.mpf]]) -> float:
    """The largest error over all times, relative to the largest term of each."""
    pairs = zip(found.flatten().tolist(), expected, strict=True)
    return max(float(abs(MP.mpf(value) - truth) / size) for value, (truth, size) in pairs)


CASES = [(family, predicts) for family in FAMILY_NAMES for predicts in PARAMETRISATIONS]
CASES += [("zero terminal", "v"), ("zero terminal", "x0")]


# --- against 50 digits


@pytest.mark.parametrize(("name", "predicts"), CASES)
def test_x0_and_eps_are_exact_at_every_noise_level(name: str, predicts: str) -> None:
    schedule, truth = known(name)
    meaning, x_t, output = PARAMETRISATIONS[predicts], values(0), values(1)
    level = Level.at(schedule, TIMES, x_t)
    given = list(
        zip(levels(truth), map(MP.mpf, x_t.flatten().tolist()), map(MP.mpf, output.flatten().tolist()), strict=True)
    )
    expected_x0 = [at.x0(predicts, x, out) for at, x, out in given]
    expected_eps = [at.eps(predicts, x, out) for at, x, out in given]
    assert farthest(meaning.x0(x_t, output, level), expected_x0) < EXACT
    assert farthest(meaning.eps(x_t, output, level), expected_eps) < EXACT


@pytest.mark.parametrize(("name", "predicts"), [*CASES, ("zero terminal", "eps")])
def test_targets_are_exact_at_every_noise_level(name: str, predicts: str) -> None:
    schedule, truth = known(name)
    x_0, eps = values(2), values(3)
    level = Level.at(schedule, TIMES, x_0)
    numbers = zip(levels(truth), map(MP.mpf, x_0.flatten().tolist()), map(MP.mpf, eps.flatten().tolist()), strict=True)
    expected = [at.target(predicts, x, e) for at, x, e in numbers]
    assert farthest(PARAMETRISATIONS[predicts].target(x_0, eps, level), expected) < EXACT


@pytest.mark.parametrize(("name", "predicts"), CASES)
def test_a_perfect_output_gives_back_the_image_and_the_noise(name: str, predicts: str) -> None:
    """At every level; what is multiplied by 1/a or 1/b on the way is only the rounding of x_t itself."""
    schedule, _ = known(name)
    meaning, x_0, eps = PARAMETRISATIONS[predicts], values(4).clamp(-1, 1), values(5)
    x_t, level = q_sample(schedule, x_0, TIMES, eps), Level.at(schedule, TIMES, x_0)
    output = meaning.target(x_0, eps, level)
    x0_bound, eps_bound = (level.signal, 1) if predicts == "eps" else (1, level.noise if predicts == "x0" else 1)
    error_x0 = (meaning.x0(x_t, output, level) - x_0) * x0_bound
    error_eps = (meaning.eps(x_t, output, level) - eps) * eps_bound
    assert float(error_x0.abs().max()) < 1e-14
    assert float(error_eps.abs().max()) < 1e-14


@pytest.mark.parametrize("t", [1, 500, 1000])
@pytest.mark.parametrize("predicts", PARAMETRISATIONS)
def test_there_and_back(predicts: str, t: int) -> None:
    """The target of what an output says is that output."""
    schedule, meaning = FAMILIES["linear"](T), PARAMETRISATIONS[predicts]
    x_t, output = images(0), images(1)
    level = Level.at(schedule, t, x_t)
    x_0, eps = meaning.x0(x_t, output, level), meaning.eps(x_t, output, level)
    torch.testing.assert_close(meaning.target(x_0, eps, level), output, rtol=0, atol=ROUNDING)
    torch.testing.assert_close(level.signal * x_0 + level.noise * eps, x_t, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("way", ["x0", "eps", "target"])
@pytest.mark.parametrize("predicts", PARAMETRISATIONS)
def test_one_time_an_image(predicts: str, way: str) -> None:
    """A (B,) tensor of times gives every image its own, the same as one call an image."""
    schedule, convert = FAMILIES["linear"](T), getattr(PARAMETRISATIONS[predicts], way)
    a, b, times = images(0), images(1), torch.tensor([1, 10, 500, 1000])
    together = convert(a, b, Level.at(schedule, times, a))
    alone = [convert(a[i : i + 1], b[i : i + 1], Level.at(schedule, int(t), a[i : i + 1])) for i, t in enumerate(times)]
    assert torch.equal(together, torch.cat(alone))


def test_v_is_at_right_angles_to_x_t() -> None:
    """(x_t, v) is (x_0, eps) turned by one angle, so that lengths are kept: x_t^2 + v^2 = x_0^2 + eps^2."""
    x_0, eps = values(6), values(7)
    for family in FAMILY_NAMES:
        schedule = FAMILIES[family](T)
        x_t = q_sample(schedule, x_0, TIMES, eps)
        v = PARAMETRISATIONS["v"].target(x_0, eps, Level.at(schedule, TIMES, x_0))
        torch.testing.assert_close(x_t.square() + v.square(), x_0.square() + eps.square(), rtol=EXACT, atol=0)


# --- float32


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_v_loses_nothing_in_float32_at_any_noise_level(family: str) -> None:
    """x0_hat and eps_hat of the same float32 numbers in float32 and in float64, at all t, to rounding."""
    schedule, v = FAMILIES[family](T), PARAMETRISATIONS["v"]
    draw = torch.Generator().manual_seed(8)
    x_t, output = (torch.randn(T, 1, 8, 8, generator=draw) for _ in range(2))
    single, double = Level.at(schedule, TIMES, x_t), Level.at(schedule, TIMES, x_t.double())
    for way, size in [
        (v.x0, (double.signal * x_t).abs() + (double.noise * output).abs()),
        (v.eps, (double.noise * x_t).abs() + (double.signal * output).abs()),
    ]:
        found, expected = way(x_t, output, single), way(x_t.double(), output.double(), double)
        assert found.dtype == torch.float32
        assert float(((found.double() - expected).abs() / size).max()) < V_IN_FLOAT32


def test_a_way_round_through_the_noise_would_lose_what_v_keeps() -> None:
    """Four digits at the end of the cosine schedule, where 1/a is 2e4: what the definition of v is there for."""
    schedule, v = NoiseSchedule.cosine(T), PARAMETRISATIONS["v"]
    x_t, output = values(0).float(), values(1).float()
    level = Level.at(schedule, T, x_t)
    straight, round_about = v.x0(x_t, output, level), PARAMETRISATIONS["eps"].x0(x_t, v.eps(x_t, output, level), level)
    exact_x0 = v.x0(x_t.double(), output.double(), level)
    assert float((straight.double() - exact_x0).abs().max()) < 1e-6
    assert float((round_about.double() - exact_x0).abs().max()) > 1e-3


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_an_image_that_is_predicted_is_not_touched(family: str) -> None:
    x_t, output = values(0).float(), values(1).float()
    level = Level.at(FAMILIES[family](T), TIMES, x_t)
    assert PARAMETRISATIONS["x0"].x0(x_t, output, level) is output
    assert PARAMETRISATIONS["eps"].eps(x_t, output, level) is output


# --- where nothing of the image is left


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("t", [T, torch.full((T,), T)], ids=["one time", "a time an image"])
def test_at_the_end_of_a_zero_terminal_schedule_x_t_is_the_noise(t: int | Tensor, dtype: torch.dtype) -> None:
    """a = 0 and b = 1 exactly: v is -x_0, and nothing is divided by zero."""
    schedule, _ = zero_terminal()
    x_t, output = values(0).to(dtype), values(1).to(dtype)
    level = Level.at(schedule, t, x_t)
    v, x0 = PARAMETRISATIONS["v"], PARAMETRISATIONS["x0"]
    assert torch.equal(v.x0(x_t, output, level), -output)
    assert torch.equal(x0.x0(x_t, output, level), output)
    for meaning in (v, x0):
        assert torch.equal(meaning.eps(x_t, output, level), x_t)
    assert torch.equal(v.target(x_t, output, level), -x_t)


class Same(nn.Module):
    """Says what it sees."""

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        return x


def model(predicts: str, schedule: NoiseSchedule) -> MeanModel:
    return MeanModel.of(Same(), predicts=predicts, schedule=schedule, data=DATA)


REFUSED = (
    r"^alpha_bar is 0 at t=1000, and a network that predicts eps says nothing of x_0 there; visit times below 1000$"
)


@pytest.mark.parametrize("t", [T, torch.tensor([1, T, 500])], ids=["all images", "one of the images"])
def test_a_network_that_predicts_the_noise_says_nothing_there_and_is_refused(t: int | Tensor) -> None:
    x_t = torch.ones(3, *DATA.shape)
    with pytest.raises(InputError, match=REFUSED):
        model("eps", zero_terminal()[0]).look(x_t, t)


@pytest.mark.parametrize("t", [T - 1, torch.tensor([1, T - 1, 500])], ids=["all images", "each its own"])
def test_it_is_looked_through_below_and_on_every_other_schedule(t: int | Tensor) -> None:
    x_t = torch.ones(3, *DATA.shape)
    assert torch.isfinite(model("eps", zero_terminal()[0]).look(x_t, t).x0_hat).all()
    for family in FAMILY_NAMES:
        assert torch.isfinite(model("eps", FAMILIES[family](T)).look(x_t, T).x0_hat).all()


@pytest.mark.parametrize("predicts", ["v", "x0"])
def test_the_others_are_looked_through_there(predicts: str) -> None:
    x_t = torch.randn(3, *DATA.shape, generator=torch.Generator().manual_seed(9))
    denoiser = model(predicts, zero_terminal()[0])
    for look in (denoiser.look(x_t, T), denoiser.look(x_t, torch.tensor([T, T, T]))):
        assert torch.equal(look.eps_hat, x_t)
        assert torch.equal(look.x0_hat, x_t if predicts == "x0" else -x_t)


def test_only_the_noise_needs_something_of_the_image() -> None:
    assert {name: meaning.needs_signal for name, meaning in PARAMETRISATIONS.items()} == {
        "eps": True, "v": False, "x0": False
    }  # fmt: skip


# --- the loss


@pytest.mark.parametrize("predicts", ["eps", "v"])
def test_errors_of_the_noise_and_of_v_count_as_they_are(predicts: str) -> None:
    x = values(0)
    for t in (1, 500, TIMES):
        assert PARAMETRISATIONS[predicts].weight(Level.at(FAMILIES["linear"](T), t, x)) == 1.0


@pytest.mark.parametrize("name", [*FAMILY_NAMES, "zero terminal"])
def test_an_error_of_the_image_counts_as_the_error_of_v_that_it_makes(name: str) -> None:
    """At one x_t, v = (a x_t - x_0) / b: the weight is 1 / bbar, which is SNR + 1; exact at every level."""
    schedule, truth = known(name)
    like = values(0)
    weight = PARAMETRISATIONS["x0"].weight(Level.at(schedule, TIMES, like))
    assert isinstance(weight, Tensor)
    exact_weights = [1 / at.b**2 for at in levels(truth)]
    assert farthest(weight, [(value, value) for value in exact_weights]) < 1e-13
    x_0, error = values(1), values(2)
    x_t, level = q_sample(schedule, x_0, TIMES, values(3)), Level.at(schedule, TIMES, x_0)

    def v_of(image: Tensor) -> Tensor:
        eps = PARAMETRISATIONS["x0"].eps(x_t, image, level)
        return PARAMETRISATIONS["v"].target(image, eps, level)

    torch.testing.assert_close(weight * error.square(), (v_of(x_0 + error) - v_of(x_0)).square(), rtol=1e-9, atol=0)


def test_one_time_has_one_weight() -> None:
    schedule, like = FAMILIES["cosine"](T), values(0)
    found = PARAMETRISATIONS["x0"].weight(Level.at(schedule, 17, like))
    assert isinstance(found, float)
    assert found == pytest.approx(1 / float(schedule.beta_bar[17]), rel=1e-14)


# --- the registry


@pytest.mark.parametrize("name", PARAMETRISATIONS)
def test_parametrisations_state_themselves(name: str) -> None:
    meaning = PARAMETRISATIONS[name]
    assert isinstance(meaning, Parametrisation)
    assert meaning.name == name
    assert meaning.summary
    assert "\n" not in meaning.summary


def test_their_names_are_known_without_torch() -> None:
    code = "import sys, diffcov.denoiser.parametrisation; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
