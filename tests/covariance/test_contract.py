"""What every registered covariance must keep to, however absurd the numbers it was given. A new one is tested here
the day its line stands in the registry."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from diffcov.basis import PIXEL, Pixel, Separable
from diffcov.covariance import registry
from diffcov.covariance.base import Covariance
from diffcov.covariance.form import Form
from diffcov.covariance.head_based import HeadCovariance
from diffcov.covariance.ingredients import FittedHead, Ingredients
from diffcov.covariance.npr import NPR
from diffcov.covariance.spectral import Spectral
from diffcov.data import DataDescription
from diffcov.denoiser.look import Look
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.diffusion.step import Step
from diffcov.errors import DiffcovError, InputError, NonFiniteError, UsageError
from diffcov.gaussian import Diagonal
from diffcov.nets.features import Features
from diffcov.solver.base import Solver
from diffcov.solver.ddim import DDIM
from diffcov.solver.ddpm import DDPM
from diffcov.statistics.knots import Knots
from diffcov.statistics.matrices import ResidualMatrices
from diffcov.statistics.spectrum import Spectrum
from diffcov.statistics.table import VarianceTable
from oracles.measured import told_look

T = 100
SHAPE = (2, 3, 4, 6)
FLOAT32 = 1e-6
"""Relative: a few roundings of float32, the least precise type a variance may have."""

ABSURD = [-1e30, -3.0, 0.0, 1e-30, 0.3, 1e12, 1e30]
SCHEDULES = [NoiseSchedule.linear(T), NoiseSchedule.cosine(T)]
SOLVERS: list[Solver] = [DDPM(), DDIM(), DDIM(0.5), DDIM(1.0)]
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


def parts(value: float) -> list[VarianceTable | Spectrum | ResidualMatrices | FittedHead]:
    """Statistics, and a head; half of the head's outputs have the other sign."""
    output = torch.full(SHAPE, value)
    output[..., ::2] *= -1
    head = FittedHead(lambda features, t: output)
    return [absurd_table(value), absurd_spectrum(value), absurd_matrices(value), head]


def ingredients(value: float, schedule: NoiseSchedule = SCHEDULES[0], half: float = 1.0) -> Ingredients:
    """All of :func:`parts`, for data in [-half, half]."""
    return Ingredients.of(schedule, DataDescription(*SHAPE[1:], low=-half, high=half), *parts(value))


def look(schedule: NoiseSchedule, t: int) -> Look:
    generator = torch.Generator().manual_seed(0)
    eps_hat, activations, x_t = (torch.randn(SHAPE, generator=generator) for _ in range(3))
    features = Features(activations, torch.randn(2, 8, generator=generator))
    return told_look(schedule, x_t, t, eps_hat, features, 3 * torch.randn(SHAPE, generator=generator))


def accepts(covariance: Covariance, solver: Solver) -> bool:
    try:
        covariance.check_solver(solver)
    except UsageError:
        return False
    return True


def steps(covariance: Covariance) -> Iterator[Step]:
    for solver in SOLVERS:
        if accepts(covariance, solver):
            yield from (solver.step(covariance.schedule, s, t) for s, t in PAIRS)


@pytest.fixture(params=list(registry.COVARIANCES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("value", ABSURD)
@pytest.mark.parametrize("half", [1.0, 0.5, 2.0])
def test_var_xs_stays_in_bounds(name: str, value: float, half: float) -> None:
    """lambda2 <= var_xs <= lambda2 + gamma^2 bound, finite, broadcastable, single or double.

    The bound is the half range squared, and what the basis makes of it in a coefficient; r holds for means over x_t
    alone, so only ``analytic`` may take it.
    """
    for schedule in SCHEDULES:
        covariance = registry.load(name)(ingredients(value, schedule, half))
        for step in steps(covariance):
            found = covariance.checked(look(schedule, step.t)).lifted(step)
            assert torch.broadcast_shapes(found.var.shape, SHAPE) == SHAPE
            assert found.var.dtype in (torch.float32, torch.float64)
            assert bool(torch.isfinite(found.var).all())
            pixel = min(float(schedule.ratio[step.t]), half**2) if name == "analytic" else half**2
            bound = torch.as_tensor(found.basis.largest_variance(pixel)).double()
            assert float(bound.min()) >= pixel * (1 - FLOAT32), "a unit vector's entries add up to 1 at least"
            most = step.lambda2 + step.gamma**2 * bound
            assert float(found.var.min()) >= max(0.0, step.lambda2 * (1 - FLOAT32)), step
            assert bool((found.var.double() <= most * (1 + FLOAT32)).all()), step


def said(form: Form, covariance: Covariance, at: Look) -> Tensor:
    """What a covariance of this form is by the form's own formula, before any bound."""
    ratio, head, one = float(covariance.schedule.ratio[at.time]), torch.ones(()), torch.ones(())
    if form.has_head:
        assert isinstance(covariance, HeadCovariance)
        head = covariance.head_at(at).double()
    if form.in_cosines:
        one = covariance.ingredients[Spectrum].var_eps(covariance.schedule, torch.tensor([at.time]))[0]
    return ratio * one * (head - form.less_square * at.predicted.square())


def test_it_is_made_as_it_says(name: str) -> None:
    """One number a time, whatever is looked at; or the formula of its form, in the basis that it says."""
    for schedule in SCHEDULES:
        covariance = registry.load(name)(ingredients(0.3, schedule))
        form = covariance.form
        if form is None:
            continue
        assert form.has_head == (FittedHead in covariance.needs)
        assert form.in_cosines == (Spectrum in covariance.needs)
        for t in (1, 37, T):
            at, other = look(schedule, t), told_look(schedule, torch.ones(SHAPE), t, torch.zeros(SHAPE))
            found = covariance.unbounded(at)
            assert isinstance(found.basis, Separable if form.in_cosines else Pixel)
            if form is Form.BY_TIME:
                assert found.is_scalar
                assert torch.equal(found.var, covariance.unbounded(other).var)
                continue
            wanted = said(form, covariance, at).to(found.var.dtype)
            torch.testing.assert_close(
                found.var.expand(SHAPE), wanted, rtol=1e-5, atol=1e-7 * float(wanted.abs().max())
            )


def test_what_makes_it_anew_says_no_form_unless_it_does() -> None:
    class Same(Spectral):
        name = "same"

    class Louder(Spectral):
        def unbounded(self, look: Look) -> Diagonal:
            return Diagonal(PIXEL, 2 * super().unbounded(look).var)

    class Narrower(NPR):
        def pixel_bound(self, t: int) -> float:
            return 0.1

    class Told(Louder):
        form = Form.BY_TIME

    assert (Same.form, Louder.form, Narrower.form, Told.form) == (Form.SPECTRUM, None, None, Form.BY_TIME)
    assert (registry.load("full").form, registry.load("learned-range").form) == (None, None)


def test_the_ddpm_solver_is_accepted(name: str) -> None:
    assert accepts(registry.load(name)(ingredients(0.5)), DDPM())


def test_inputs_are_left_alone(name: str) -> None:
    made = parts(0.3)
    data = DataDescription(*SHAPE[1:])
    covariances = [registry.load(name)(Ingredients.of(schedule, data, *made)) for schedule in SCHEDULES]
    looks = {(schedule, t): look(schedule, t) for schedule in SCHEDULES for _, t in PAIRS}

    def tensors() -> list[Tensor]:
        *statistics, head = made
        assert len(statistics) == 3
        measured = [tensor for part in statistics for tensor in part.tensors().values()]
        given = [
            tensor
            for one in looks.values()
            for tensor in (one.x_t, one.x0_hat, one.eps_hat, one.predicted, *one.features)
        ]
        return [*given, *measured, head.function(looks[SCHEDULES[0], 1].features, torch.tensor([1, 1]))]

    before = [tensor.clone() for tensor in tensors()]
    schedule_before = [s.log_alpha.clone() for s in SCHEDULES]
    for covariance in covariances:
        for step in steps(covariance):
            found = covariance.at(looks[covariance.schedule, step.t])
            found.lifted(step).var.add_(1.0)  # whoever owns the result may change it
            if found.var.numel() > 1:
                found.var.add_(1.0)
    assert all(torch.equal(x, y) for x, y in zip(before, tensors(), strict=True))
    assert all(torch.equal(x, s.log_alpha) for x, s in zip(schedule_before, SCHEDULES, strict=True))
    assert all(torch.equal(s.beta_bar, -s.log_alpha.cumsum(0).expm1()) for s in SCHEDULES)


def test_the_same_inputs_give_the_same_variance(name: str) -> None:
    covariance, step = registry.load(name)(ingredients(0.3)), Step(SCHEDULES[0], 49, 50)
    one, other = (covariance.at(look(SCHEDULES[0], 50)).lifted(step) for _ in range(2))
    assert torch.equal(one.var, other.var)


def test_an_answer_does_not_depend_on_what_was_asked_before(name: str) -> None:
    """Neither on other times nor under another schedule: whatever statistics and covariances keep belongs to both."""
    made, data = parts(0.3), DataDescription(*SHAPE[1:])
    asked = {schedule: registry.load(name)(Ingredients.of(schedule, data, *made)) for schedule in SCHEDULES}
    for schedule in SCHEDULES:
        for t in (1, 45, T):
            asked[schedule].at(look(schedule, t))
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for schedule in SCHEDULES[::-1]:
        for t in (45, 50):
            fresh = registry.load(name)(ingredients(0.3, schedule))
            one, other = (covariance.unbounded(look(schedule, t)) for covariance in (asked[schedule], fresh))
            assert torch.equal(one.var, other.var)
            assert torch.equal(one.basis.inverse(x), other.basis.inverse(x))


COMMANDS = {
    VarianceTable: "diffcov estimate-var",
    Spectrum: "diffcov estimate-var",
    ResidualMatrices: "diffcov estimate-var --full",
    FittedHead: "diffcov fit-var-head --kind {name}",
}
"""Every kind of ingredient that there is, and how it is made."""


def test_what_cannot_be_measured_of_such_images_names_no_command() -> None:
    large = Ingredients(SCHEDULES[0], DataDescription(3, 32, 32), {})
    with pytest.raises(InputError, match="for images of at most 1024 values, and these have 3072; "):
        large.require([ResidualMatrices], "full", "the full covariance needs")


def without(known: Ingredients, *kinds: type) -> Ingredients:
    """Everything else."""
    return known.only([kind for kind in known.parts if kind not in kinds])


def test_needs_are_enforced_with_the_command_to_run(name: str) -> None:
    """One need at a time: everything else is there."""
    kind = registry.load(name)
    assert set(kind.needs) <= COMMANDS.keys()
    for need, command in COMMANDS.items():
        lacking = without(ingredients(0.3), need)
        assert need not in lacking
        assert need.command_for(name) == command.format(name=name)
        if need not in kind.needs:
            kind(lacking)
            continue
        with pytest.raises(InputError) as refused:
            kind(lacking)
        assert f"the {name} covariance needs {need.title} and none was found" in str(refused.value)
        assert str(refused.value).endswith(f"run: {command.format(name=name)}")


def test_what_is_needed_is_enough_and_nothing_is_not(name: str) -> None:
    """One need does not stand for another, and what is not needed is not kept."""
    kind, known = registry.load(name), ingredients(0.3)
    enough = known.only(kind.needs)
    for need in COMMANDS:
        assert (need in enough) == (need in kind.needs)
    kind(enough)
    assert set(kind(known).ingredients.parts) == set(kind.needs)
    nothing = known.only([])
    if not kind.needs:
        kind(nothing)
        return
    with pytest.raises(InputError, match=f"the {name} covariance needs {kind.needs[0].title}"):
        kind(nothing)
    with pytest.raises(InputError, match=f"the {name} covariance needs"):
        kind(without(known, *kind.needs))


def test_a_table_of_norms_alone_is_refused_by_whoever_reads_the_error(name: str) -> None:
    """As published ones are; and nothing is read that its statistics never hold."""
    kind, known = registry.load(name), ingredients(0.3)
    statistics = [known[need] for need in kind.needs if need is not FittedHead]
    assert set(kind.reads) <= {tensor for one in statistics for tensor in one.tensors()}
    norms = VarianceTable.of_norms([0.5] * T)
    published = Ingredients.of(known.schedule, known.data, *without(known, VarianceTable).parts.values(), norms)
    if set(kind.reads) <= norms.tensors().keys():
        kind(published)
        return
    assert name == "corrected"
    with pytest.raises(InputError, match=r"knows E\|\|eps_hat\|\|\^2 alone.*analytic can be used with it"):
        kind(published)


@pytest.mark.parametrize(
    "name", [name for name in registry.COVARIANCES if name not in ("small", "large", "full", "learned-range")]
)
def test_what_is_not_a_number_is_refused_by_name_and_time(name: str) -> None:
    broken = registry.load(name)(ingredients(float("nan")))
    with pytest.raises(NonFiniteError, match=f"the {name} covariance gives NaN at t=45: its table or head is broken"):
        broken.checked(look(SCHEDULES[0], 45))


def test_the_heads_of_others_are_not_one_s_own() -> None:
    """Each has a file of its own; what is measured is one file for all."""
    heads = registry.heads()
    assert len({FittedHead.file_for(name) for name in heads}) == len(heads)
    for kind in (VarianceTable, Spectrum, ResidualMatrices):
        assert {kind.file_for(name) for name in registry.COVARIANCES} == {kind.file}


def test_it_says_what_it_was_made_of(name: str) -> None:
    """The digest of each of its needs, by the name of the file in a run."""
    known = ingredients(0.3)
    covariance = registry.load(name)(known)
    expected = {kind.file_for(name): known[kind].digest for kind in covariance.needs}
    assert covariance.made_of == expected
    assert covariance.as_dict() == {"name": name, "made_of": expected}
    other = registry.load(name)(ingredients(0.4))
    assert all(other.made_of[file] != expected[file] for file in expected), "a head that is a function has a name too"


def test_a_covariance_states_itself(name: str) -> None:
    kind = registry.load(name)
    assert issubclass(kind, Covariance)
    assert kind.name == name
    for text in (kind.summary, kind.formula, kind.reference):
        assert text.strip()
        assert "\n" not in text
    assert kind.__doc__


@pytest.mark.parametrize("steps_of", ["large", "learned-range"])
def test_the_variance_of_a_ddpm_step_is_refused_for_any_other(steps_of: str) -> None:
    covariance = registry.load(steps_of)(ingredients(0.3).only([]))
    with pytest.raises(DiffcovError, match=rf"{steps_of} .* nothing for ddim-eta0.5, whose steps are others; use"):
        covariance.check_solver(DDIM(0.5))


def test_heads_are_those_that_need_one() -> None:
    expected = [n for n in registry.COVARIANCES if FittedHead in registry.load(n).needs]
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
        ({"analytic", "corrected", "learned-range"}, "learned-range"),
        ({"analytic", "corrected", "ocm", "learned-range"}, "ocm"),
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
    order = "full > banded > spectral > npr > sn > ocm > learned-range > corrected > analytic > small"
    assert " > ".join(registry.PREFERENCE) == order


@pytest.mark.parametrize("module", ["covariance.registry", "statistics.registry"])
def test_the_registries_of_what_there_is_import_no_torch(module: str) -> None:
    code = f"import sys, diffcov.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
