"""What every registered covariance must keep to, however absurd the numbers it was given. A new one is tested here
the day its line stands in the registry."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from diffcov.covariance import registry
from diffcov.covariance.base import Covariance, Fitted
from diffcov.covariance.needs import Need
from diffcov.denoiser.prediction import Prediction
from diffcov.diffusion.process import DDIM, DDPM, Process, Step
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import DiffcovError, InputError, UsageError
from diffcov.nets.features import Features
from diffcov.statistics.knots import Knots
from diffcov.statistics.matrices import ResidualMatrices
from diffcov.statistics.spectrum import Spectrum
from diffcov.statistics.table import VarianceTable

T = 100
SHAPE = (2, 3, 4, 6)
FLOAT32 = 1e-6
"""Relative: a few roundings of float32, the least precise type a variance may have."""

ABSURD = [-1e30, -3.0, 0.0, 1e-30, 0.3, 1e12, 1e30]
SCHEDULES = [NoiseSchedule.linear(T), NoiseSchedule.cosine(T)]
PROCESSES: list[Process] = [DDPM(), DDIM(), DDIM(0.5), DDIM(1.0)]
PAIRS = [(0, 1), (0, T), (1, 2), (49, 50), (T - 1, T), (1, T), (10, 60)]


def absurd_table(value: float) -> VarianceTable:
    """Every statistic of every time is ``value``, from one image."""
    table = VarianceTable.empty(T)
    for name, statistic in table.tensors().items():
        statistic.fill_(1.0 if name == "count" else value)
    return table


KNOTS = Knots((1, 30, 60, T))
"""Those of the spectrum; the matrices have a time fewer, so that neither can stand for the other."""


def absurd_spectrum(value: float) -> Spectrum:
    """``value`` everywhere, its opposite in every second coefficient and at every second knot."""
    found = Spectrum.empty(KNOTS, SHAPE[1:], torch.eye(SHAPE[1], dtype=torch.float64))
    found.count.fill_(1)
    for statistic in (found.total, found.total_sq):
        statistic.fill_(value)
        statistic[..., ::2] *= -1
        statistic[::2] *= -1
    return found


def absurd_matrices(value: float) -> ResidualMatrices:
    """The same, pairs included; no such matrix is positive definite."""
    found = ResidualMatrices.empty(Knots(KNOTS.times[1:]), SHAPE[1:], torch.eye(SHAPE[1], dtype=torch.float64))
    found.count.fill_(3)
    for statistic in (found.total, found.pairs):
        statistic.fill_(value)
        statistic[..., ::2] *= -1
    found.total[::2] *= -1
    return found


def fitted(value: float) -> Fitted:
    """Statistics, and a head for each name that can have one; half of each head's outputs have the other sign."""
    output = torch.full(SHAPE, value)
    output[..., ::2] *= -1
    heads = {name: lambda features, t: output for name in registry.COVARIANCES}
    return Fitted(absurd_table(value), absurd_spectrum(value), absurd_matrices(value), heads)


def prediction() -> Prediction:
    generator = torch.Generator().manual_seed(0)
    eps_hat, activations = (torch.randn(SHAPE, generator=generator) for _ in range(2))
    return Prediction(eps_hat, Features(activations, torch.randn(2, 8, generator=generator)))


def accepts(covariance: Covariance, process: Process) -> bool:
    try:
        covariance.check_process(process)
    except UsageError:
        return False
    return True


def steps(covariance: Covariance) -> Iterator[Step]:
    for process in PROCESSES:
        if accepts(covariance, process):
            for schedule in SCHEDULES:
                yield from (Step(schedule, s, t, process.eta) for s, t in PAIRS)


@pytest.fixture(params=list(registry.COVARIANCES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("value", ABSURD)
@pytest.mark.parametrize("var_bound", [1.0, 0.25, 4.0])
def test_var_xs_stays_in_bounds(name: str, value: float, var_bound: float) -> None:
    """lambda2 <= var_xs <= lambda2 + gamma^2 bound, finite, broadcastable, single or double.

    The bound is the half range squared, and what the basis makes of it in a coefficient; r holds for means over x_t
    alone, so only ``analytic`` may take it.
    """
    covariance = registry.load(name).build(fitted(value))
    for step in steps(covariance):
        var_xs = covariance.var_xs(step, prediction(), var_bound)
        assert torch.broadcast_shapes(var_xs.shape, SHAPE) == SHAPE
        assert var_xs.dtype in (torch.float32, torch.float64)
        assert bool(torch.isfinite(var_xs).all())
        pixel = min(float(step.schedule.ratio[step.t]), var_bound) if name == "analytic" else var_bound
        bound = torch.as_tensor(covariance.basis_at(step.schedule, step.t).largest_variance(pixel)).double()
        assert float(bound.min()) >= pixel * (1 - FLOAT32), "a unit vector's entries add up to 1 at least"
        most = step.lambda2 + step.gamma**2 * bound
        assert float(var_xs.min()) >= max(0.0, step.lambda2 * (1 - FLOAT32)), step
        assert bool((var_xs.double() <= most * (1 + FLOAT32)).all()), step


def test_the_ddpm_process_is_accepted(name: str) -> None:
    assert accepts(registry.load(name).build(fitted(0.5)), DDPM())


def test_inputs_are_left_alone(name: str) -> None:
    known, given = fitted(0.3), prediction()
    covariance = registry.load(name).build(known)

    def tensors() -> list[Tensor]:
        head_output = known.heads[name](given.features, torch.tensor([1, 1]))
        statistics = [part for part in (known.table, known.spectrum, known.matrices) if part is not None]
        assert len(statistics) == 3
        measured = [tensor for part in statistics for tensor in part.tensors().values()]
        return [given.eps_hat, *given.features, *measured, head_output]

    before = [tensor.clone() for tensor in tensors()]
    schedule_before = [s.log_alpha.clone() for s in SCHEDULES]
    for step in steps(covariance):
        covariance.var_xs(step, given, 1.0).add_(1.0)  # whoever owns the result may change it
    assert all(torch.equal(x, y) for x, y in zip(before, tensors(), strict=True))
    assert all(torch.equal(x, s.log_alpha) for x, s in zip(schedule_before, SCHEDULES, strict=True))
    assert all(torch.equal(s.beta_bar, -s.log_alpha.cumsum(0).expm1()) for s in SCHEDULES)


def test_the_same_inputs_give_the_same_variance(name: str) -> None:
    covariance, step = registry.load(name).build(fitted(0.3)), Step(SCHEDULES[0], 49, 50)
    assert torch.equal(covariance.var_xs(step, prediction(), 1.0), covariance.var_xs(step, prediction(), 1.0))


def test_an_answer_does_not_depend_on_what_was_asked_before(name: str) -> None:
    """Neither on other times nor on another schedule: whatever a covariance keeps belongs to both."""
    given = prediction()
    asked, fresh = (registry.load(name).build(fitted(0.3)) for _ in range(2))
    for schedule in SCHEDULES:
        for t in (1, 45, T):
            asked.var_x0(schedule, t, given)
            asked.basis_at(schedule, t)
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for schedule in SCHEDULES[::-1]:
        for t in (45, 50):
            one, other = (covariance.var_x0(schedule, t, given) for covariance in (asked, fresh))
            assert torch.equal(one, other)
            one, other = (covariance.basis_at(schedule, t).inverse(x) for covariance in (asked, fresh))
            assert torch.equal(one, other)
            fresh = registry.load(name).build(fitted(0.3))


COMMANDS = {
    Need.TABLE: "diffcov estimate-var",
    Need.SPECTRUM: "diffcov estimate-var",
    Need.MATRICES: "diffcov estimate-var --full --force",
    Need.HEAD: "diffcov fit-var-head --kind {name}",
}


def without(known: Fitted, need: Need, name: str) -> Fitted:
    """Everything but what one need of the covariance ``name`` stands for."""
    others = {n: head for n, head in known.heads.items() if n != name}
    return {
        Need.TABLE: replace(known, table=None),
        Need.SPECTRUM: replace(known, spectrum=None),
        Need.MATRICES: replace(known, matrices=None),
        Need.HEAD: replace(known, heads=others),
    }[need]


def test_needs_are_enforced_with_the_command_to_run(name: str) -> None:
    """One need at a time: everything else is there."""
    kind = registry.load(name)
    assert kind.needs <= set(Need)
    for need in Need:
        lacking = without(fitted(0.3), need, name)
        assert not lacking.holds(need, name)
        if need not in kind.needs:
            kind.build(lacking)
            continue
        with pytest.raises(InputError) as refused:
            kind.build(lacking)
        assert f"the {name} covariance needs {need.value} and none was found" in str(refused.value)
        assert str(refused.value).endswith(f"run: {COMMANDS[need].format(name=name)}")


def test_what_is_needed_is_enough_and_nothing_is_not(name: str) -> None:
    """One need does not stand for another, and the heads of others are not one's own."""
    kind, known = registry.load(name), fitted(0.3)
    enough = known
    for need in set(Need) - kind.needs:
        enough = without(enough, need, name)
    for need in Need:
        assert enough.holds(need, name) == (need in kind.needs)
    kind.build(enough)
    if kind.needs:
        with pytest.raises(InputError, match=f"the {name} covariance needs"):
            kind.build(Fitted())
        first = next(need for need in Need if need in kind.needs)
        with pytest.raises(InputError, match=f"needs {first.value}"):
            kind.build(Fitted(heads={n: head for n, head in known.heads.items() if n != name}))
    else:
        kind.build(Fitted())


def test_a_covariance_states_itself(name: str) -> None:
    kind = registry.load(name)
    assert issubclass(kind, Covariance)
    assert kind.name == name
    for text in (kind.summary, kind.formula, kind.reference):
        assert text.strip()
        assert "\n" not in text
    assert kind.__doc__


def test_large_is_refused_for_any_process_but_ddpm() -> None:
    large = registry.load("large").build(Fitted())
    with pytest.raises(DiffcovError, match=r"large .* nothing for ddim with eta=0.5; use --process ddpm"):
        large.check_process(DDIM(0.5))


def test_heads_are_those_that_need_one() -> None:
    expected = [n for n in registry.COVARIANCES if Need.HEAD in registry.load(n).needs]
    assert list(registry.heads()) == expected


ALWAYS = {"small", "large"}
"""What needs nothing."""


@pytest.mark.parametrize(
    ("buildable", "expected"),
    [
        (set(), "small"),
        ({"analytic"}, "analytic"),
        ({"analytic", "corrected"}, "corrected"),
        ({"analytic", "corrected", "npr"}, "npr"),
        ({"npr"}, "npr"),
        ({"analytic", "corrected", "sn"}, "sn"),
        ({"sn"}, "sn"),
        ({"analytic", "corrected", "npr", "sn"}, "npr"),
        ({"npr", "sn"}, "npr"),
        ({"sn", "ocm"}, "sn"),
        ({"analytic", "corrected", "ocm"}, "ocm"),
        ({"analytic", "corrected", "npr", "spectral"}, "spectral"),
        ({"spectral", "banded"}, "banded"),
        ({"spectral", "banded", "full", "npr"}, "full"),
    ],
    ids=lambda v: v if isinstance(v, str) else "+".join(sorted(v)) or "nothing",
)
def test_the_preferred_covariance_is_the_best_that_is_there(buildable: set[str], expected: str) -> None:
    """Whatever else is there that ``auto`` does not take, and in whatever order it is told."""
    others = registry.COVARIANCES.keys() - set(registry.PREFERENCE)
    for told in (ALWAYS | buildable, ALWAYS | buildable | others):
        for order in (sorted(told), sorted(told, reverse=True)):
            assert registry.preferred(order) == expected


def test_the_order_of_preference() -> None:
    order = "full > banded > spectral > npr > sn > ocm > corrected > analytic > small"
    assert " > ".join(registry.PREFERENCE) == order


@pytest.mark.parametrize("module", ["registry", "needs"])
def test_the_registry_imports_no_torch(module: str) -> None:
    code = f"import sys, diffcov.covariance.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
