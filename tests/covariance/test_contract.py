"""What every registered covariance must keep to, however absurd the numbers it was given. A new one is tested here
the day its line stands in the registry."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from diffcov.covariance import registry
from diffcov.covariance.base import Covariance, Fitted, Needs
from diffcov.covariance.table import VarianceTable
from diffcov.errors import DiffcovError, InputError, UsageError
from diffcov.prediction import Features, Prediction
from diffcov.process import DDIM, DDPM, Process, Step
from diffcov.schedule import NoiseSchedule

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


def fitted(value: float) -> Fitted:
    """A table, and a head for each name that can have one; half of each head's outputs have the other sign."""
    output = torch.full(SHAPE, value)
    output[..., ::2] *= -1
    return Fitted(absurd_table(value), {name: lambda features: output for name in registry.COVARIANCES})


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

    The bound is the half range squared; r holds for means over x_t alone, so only ``analytic`` may take it.
    """
    covariance = registry.load(name).build(fitted(value))
    for step in steps(covariance):
        var_xs = covariance.var_xs(step, prediction(), var_bound)
        assert torch.broadcast_shapes(var_xs.shape, SHAPE) == SHAPE
        assert var_xs.dtype in (torch.float32, torch.float64)
        assert bool(torch.isfinite(var_xs).all())
        bound = min(float(step.schedule.ratio[step.t]), var_bound) if name == "analytic" else var_bound
        most = step.lambda2 + step.gamma**2 * bound
        assert float(var_xs.min()) >= max(0.0, step.lambda2 * (1 - FLOAT32)), step
        assert float(var_xs.max()) <= most * (1 + FLOAT32), step


def test_the_ddpm_process_is_accepted(name: str) -> None:
    assert accepts(registry.load(name).build(fitted(0.5)), DDPM())


def test_inputs_are_left_alone(name: str) -> None:
    known, given = fitted(0.3), prediction()
    assert known.table is not None
    covariance = registry.load(name).build(known)

    def tensors() -> list[Tensor]:
        assert known.table is not None
        head_output = known.heads[name](given.features)
        return [given.eps_hat, *given.features, *known.table.tensors().values(), head_output]

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


COMMANDS = {Needs.TABLE: "diffcov estimate-var", Needs.HEAD: "diffcov fit-var-head --kind {name}"}


def test_needs_are_enforced_with_the_command_to_run(name: str) -> None:
    kind = registry.load(name)
    if kind.needs is Needs.NOTHING:
        kind.build(Fitted())
        return
    with pytest.raises(InputError) as refused:
        kind.build(Fitted())
    assert name in str(refused.value)
    assert COMMANDS[kind.needs].format(name=name) in str(refused.value)


def test_one_need_does_not_stand_for_another(name: str) -> None:
    """A table is no head and the heads of others are not one's own."""
    kind = registry.load(name)
    known = fitted(0.3)
    others = {n: head for n, head in known.heads.items() if n != name}
    if kind.needs is Needs.HEAD:
        with pytest.raises(InputError):
            kind.build(Fitted(known.table, others))
    if kind.needs is Needs.TABLE:
        with pytest.raises(InputError):
            kind.build(Fitted(None, known.heads))


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
    expected = [n for n in registry.COVARIANCES if registry.load(n).needs is Needs.HEAD]
    assert list(registry.heads()) == expected


@pytest.mark.parametrize(
    ("table", "heads", "expected"),
    [
        (False, set(), "small"),
        (True, set(), "corrected"),
        (True, {"npr"}, "npr"),
        (False, {"npr"}, "npr"),
        (True, {"sn"}, "sn"),
        (False, {"sn"}, "sn"),
        (True, {"npr", "sn"}, "npr"),
        (False, {"npr", "sn"}, "npr"),
    ],
)
def test_the_preferred_covariance_is_the_best_that_is_there(table: bool, heads: set[str], expected: str) -> None:
    assert registry.preferred(table=table, heads=frozenset(heads)) == expected


def test_the_order_of_preference() -> None:
    assert registry.PREFERENCE == ("npr", "sn", "corrected", "analytic", "small")


@pytest.mark.parametrize("module", ["registry", "needs"])
def test_the_registry_imports_no_torch(module: str) -> None:
    code = f"import sys, diffcov.covariance.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
