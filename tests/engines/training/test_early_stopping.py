"""When a head has been fitted for long enough, and which of its weights are kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from diffcov.covariance import registry
from diffcov.covariance.ingredients import Ingredients
from diffcov.data import DataDescription, Examples
from diffcov.denoiser.clipped import Clipped
from diffcov.denoiser.mean_model import MeanModel
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.diffusion.step import Step
from diffcov.engines.training import early_stopping
from diffcov.engines.training.averages import LogRecord
from diffcov.engines.training.batches import NoisyBatches
from diffcov.engines.training.config import Budget, TrainingConfig
from diffcov.engines.training.early_stopping import TOLERANCE, Curve, EarlyStopping, Evaluation
from diffcov.engines.training.head_fit import HeadObjective, HeadPlan
from diffcov.engines.training.held_out import STEPS, HeldOut, hold_out, step_gain
from diffcov.engines.training.loop import Callbacks, Intervals, train
from diffcov.engines.training.session import Session
from diffcov.errors import InputError, NonFiniteError
from diffcov.gaussian import Diagonal
from diffcov.nets.variance_head import Head
from diffcov.statistics.spectrum import Spectrum
from diffcov.statistics.table import VarianceTable
from oracles.attentive import attentive_model
from oracles.measured import told_spectrum

DATA = DataDescription(1, 8, 8, levels=17)
IMAGES = torch.randint(0, 17, (40, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
SCHEDULE = NoiseSchedule.linear(50)
CONFIG = TrainingConfig(batch_size=4, lr=1e-2, ema_decay=0.9)
KINDS = registry.heads()


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """An evaluation every second iteration."""
    monkeypatch.setattr(early_stopping, "IMAGES_BETWEEN", 2 * CONFIG.batch_size)


@cache
def known() -> Ingredients:
    """A table and a spectrum of no particular truth."""
    error = torch.linspace(0.02, 0.9, SCHEDULE.T + 1, dtype=torch.float64).flip(0)
    table = VarianceTable(torch.ones(SCHEDULE.T + 1).double(), 1 - error, (1 - error).square(), error, error.square())
    draw = torch.Generator().manual_seed(5)
    levels = {t: torch.rand(DATA.shape, generator=draw, dtype=torch.float64) + 0.1 for t in (1, 25, 50)}
    return Ingredients.of(SCHEDULE, DATA, table, told_spectrum(list(levels), levels.__getitem__, DATA.shape))


@cache
def model() -> MeanModel:
    return attentive_model(DATA.shape, None, dropout=0.5)


def session_of(kinds: Sequence[str], patience: int, loss: str | None = None) -> tuple[Session, NoisyBatches]:
    """A session of heads that are begun by seeds of their own, with four of forty images held out."""
    heads, losses = dict[str, Head](), dict[str, str]()
    for kind in kinds:
        plan = HeadPlan.of(kind, loss, "simple")
        torch.manual_seed(KINDS.index(kind))
        heads[kind], losses[kind] = plan.spec(model()).build(plan.start(known())), plan.loss
    objective = HeadObjective(model(), heads, losses, dict.fromkeys(kinds, known()))
    fitted, held = hold_out(Examples(IMAGES), 4)
    batches = NoisyBatches(fitted, DATA, SCHEDULE, CONFIG.batch_size, False, 0)
    stopping = EarlyStopping(objective, HeldOut(held, batches), patience, CONFIG.batch_size)
    return Session(objective, CONFIG, stopping), batches


def stopping_of(session: Session) -> EarlyStopping:
    assert isinstance(session.stopping, EarlyStopping)
    return session.stopping


def fit(kinds: Sequence[str], iterations: int, patience: int = 2) -> tuple[Session, list[Evaluation]]:
    session, batches = session_of(kinds, patience)
    found = list[Evaluation]()
    train(session, batches, Budget(iterations), Callbacks(on_evaluation=found.append), Intervals(1000, math.inf))
    return session, found


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(mine: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in theirs)


def kept(session: Session) -> dict[str, tuple[dict[str, Tensor], int]]:
    found = stopping_of(session).kept(session.ema.module, session.iteration)
    return {kind: (weights(head), iteration) for kind, (head, iteration) in found.items()}


# --- the curve


def curve_of(*values: float) -> Curve:
    found = Curve()
    for number, value in enumerate(values):
        found.add(10 * number, value)
    return found


def test_a_curve_is_smoothed_over_three_evaluations() -> None:
    smoothed = [curve_of(*[9.0, 3.0, 6.0, 0.0][:count]).smoothed for count in (1, 2, 3, 4)]
    assert smoothed == [9, 6, 6, 3]


def test_one_lucky_evaluation_is_no_best() -> None:
    """The best is that of the smoothed curve: 4 alone at 20 is less than any other, their mean is least at 40."""
    found = curve_of(6, 6, 4, 6, 5, 6, 7)
    assert (found.best, found.best_iteration) == (5.0, 40)


def test_what_gains_little_each_time_gains_in_the_sum() -> None:
    """Steps of half the tolerance count at every third evaluation; a tenth of it comes to its end."""
    slow = curve_of(*(1 - 0.5 * TOLERANCE * n for n in range(40)))
    assert slow.since <= 3
    flat = curve_of(*(1 - 0.1 * TOLERANCE * n for n in range(9)))
    assert flat.since == 8
    assert flat.best_iteration == 80, "and yet it is best at its end"


def test_a_curve_survives_the_disk() -> None:
    for found in (Curve(), curve_of(3.0), curve_of(3, 2, 2.5, 2.1)):
        assert Curve.of(found.tensor()) == found
        assert torch.isfinite(found.tensor()).all(), "a state that holds infinity is refused when it is read"


# --- the nats


def test_the_nats_are_those_of_the_bound() -> None:
    """Against the sampler's own step: its lift, its noise, its KL, of the start of npr on the images held out."""
    session, _ = session_of(["npr"], 2)
    objective = session.objective
    assert isinstance(objective, HeadObjective)
    batch = stopping_of(session).held_out.at(0)
    found = objective.nats(objective.heads, batch)["npr"]
    look = model().look(batch.x_t, batch.t)
    error = known()[VarianceTable].error_moments.mean()
    for i in range(0, len(batch.t), 9):
        t = int(batch.t[i])
        s = max(1, t - SCHEDULE.T // STEPS)
        if s == t:
            assert float(found[i]) == 0
            continue
        step = Step(SCHEDULE, s, t)
        var = step.lambda2 + step.gamma**2 * float(SCHEDULE.ratio[t] * error[t].float())
        difference = step.gamma * (batch.x_0[i] - look.x0_hat[i]).double()
        kl = (math.log(var / step.lambda2) + (step.lambda2 + difference.square()) / var - 1) / 2
        assert float(found[i]) == pytest.approx(STEPS * float(kl.mean()), rel=1e-4)


def test_the_nats_of_banded_are_those_of_the_spectrum_it_starts_from() -> None:
    """An unfitted banded head is spectral: the KL of a covariance in its basis, of the clipped mean."""
    session, _ = session_of(["banded"], 2)
    objective = session.objective
    assert isinstance(objective, HeadObjective)
    batch = stopping_of(session).held_out.at(0)
    found = objective.nats(objective.heads, batch)["banded"]
    look = Clipped(model()).look(batch.x_t, batch.t)
    spectrum = known()[Spectrum]
    var = spectrum.var_eps(SCHEDULE, batch.t) * SCHEDULE.ratio[batch.t][:, None, None, None]
    for i in range(0, len(batch.t), 9):
        t = int(batch.t[i])
        rho = step_gain(SCHEDULE)[t] / SCHEDULE.ratio[t]
        error = (batch.x_0[i : i + 1] - look.x0_hat[i : i + 1]).double()
        nats = Diagonal(spectrum.basis, var[i : i + 1]).kl_lifted(error, rho[None])
        assert float(found[i]) == pytest.approx(STEPS * float(nats) / DATA.dims, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("kind", ["npr", "sn", "ocm"])
def test_heads_fitted_by_squared_error_are_judged_by_nats_too(kind: str) -> None:
    """Also where they begin at 0, of which a likelihood without the step's own noise would be infinite."""
    session, _ = session_of([kind], 2, "squared")
    stopping = stopping_of(session)
    start = stopping.evaluate(0, session.ema.module).held_out[kind]
    assert math.isfinite(start)


# --- the fit


def test_evaluations_come_at_their_time_and_are_those_of_the_average() -> None:
    session, found = fit(["npr"], 5, patience=0)
    assert [one.iteration for one in found] == [0, 2, 4]
    objective, averaged = session.objective, session.ema.module
    assert isinstance(objective, HeadObjective)
    assert isinstance(averaged, nn.ModuleDict)
    session, found = fit(["npr"], 4, patience=0)
    held_out = stopping_of(session).held_out
    assert isinstance(session.ema.module, nn.ModuleDict)
    nats = [objective.nats(session.ema.module, held_out.at(number))["npr"] for number in range(2)]
    assert found[-1].held_out["npr"] == pytest.approx(float(torch.cat(nats).mean()), rel=1e-12)
    assert found[-1].smoothed["npr"] == pytest.approx(sum(one.held_out["npr"] for one in found) / 3, rel=1e-12)


def judged(monkeypatch: pytest.MonkeyPatch, nats: Callable[[str, int], float]) -> None:
    """Evaluations that find what they are told: kind and their number so far -> nats."""
    numbers = dict[str, int]()

    def tell(self: EarlyStopping, averaged: nn.ModuleDict) -> dict[str, float]:
        found = {}
        for kind in self.objective.active:
            numbers[kind] = numbers.get(kind, -1) + 1
            found[kind] = nats(kind, numbers[kind])
        return found

    monkeypatch.setattr(EarlyStopping, "_nats", tell)


FALLING: dict[str, int] = {"npr": 4, "sn": 2, "ocm": 7, "banded": 1}
"""The evaluation from which each head is told that it gains no more."""


def told(kind: str, number: int) -> float:
    """Falls by 1 until its end, then rises a little."""
    end = FALLING[kind]
    return 10.0 - number if number <= end else 10.0 - end + 0.6 * (number - end)


def test_each_head_rests_when_it_gains_no_more_and_the_fit_ends_with_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    judged(monkeypatch, told)
    session, found = fit(KINDS, 1000)
    for kind in KINDS:
        values, curve = [one.held_out[kind] for one in found if kind in one.held_out], Curve()
        for number, value in enumerate(values):
            curve.add(2 * number, value)
            assert (curve.since == 2) is (number == len(values) - 1), "its last one used up the patience"
        assert kept(session)[kind][1] == curve.best_iteration
    assert session.iteration == found[-1].iteration < 1000
    assert session.over(Budget(1000))
    ends = {kind: max(one.iteration for one in found if kind in one.held_out) for kind in KINDS}
    assert len(set(ends.values())) == len(KINDS), "each at its own time"


@pytest.mark.parametrize("kind", KINDS)
def test_what_becomes_of_a_head_does_not_depend_on_the_others(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """To the bit, although they rest at different times; and it costs no step that it does not take alone."""
    judged(monkeypatch, told)
    together, _ = fit(KINDS, 1000)
    judged(monkeypatch, told)
    alone, _ = fit([kind], 1000)
    (mine, at), (theirs, there) = kept(alone)[kind], kept(together)[kind]
    assert at == there
    assert same(mine, theirs)
    assert same(
        weights(alone.objective.module.get_submodule(kind)), weights(together.objective.module.get_submodule(kind))
    )


def test_a_head_that_rests_costs_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once ocm rests, nobody pays for its curvature."""
    judged(monkeypatch, told)
    session, batches = session_of(["npr", "ocm"], 2)
    objective = session.objective
    assert isinstance(objective, HeadObjective)
    objective.resting = frozenset({"ocm"})

    def unwanted() -> Tensor:
        raise AssertionError("nobody needs signs")

    assert objective.losses(replace(batches.at(0), signs=unwanted)).keys() == {"npr"}


def test_the_weights_kept_are_those_of_the_best_smoothed_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    judged(monkeypatch, told)
    session, _ = fit(["npr"], 1000)
    found, iteration = kept(session)["npr"]
    judged(monkeypatch, told)
    until, _ = fit(["npr"], iteration)
    assert same(found, weights(until.ema.module.get_submodule("npr")))
    assert not same(found, weights(session.ema.module.get_submodule("npr"))), "the fit went on"


def test_while_the_latest_is_the_best_the_average_is_kept_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A budget that ends between two evaluations of a falling curve."""
    judged(monkeypatch, lambda kind, number: 10.0 - number)
    session, _ = fit(["npr"], 7)
    found, iteration = kept(session)["npr"]
    assert iteration == 7
    assert same(found, weights(session.ema.module.get_submodule("npr")))


def test_without_patience_nothing_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    judged(monkeypatch, lambda kind, number: float(number))
    session, found = fit(["npr"], 9, patience=0)
    assert session.iteration == 9
    assert len(found) == 5
    assert kept(session)["npr"][1] == 0, "but the weights are the best ones"


@pytest.mark.parametrize("stop", [1, 4, 5, 6, 9])
def test_resumed_equals_uninterrupted(monkeypatch: pytest.MonkeyPatch, stop: int) -> None:
    """Curves, best weights and who rests: all of it is state. Evaluations are functions of what was judged."""

    def tell(self: EarlyStopping, averaged: nn.ModuleDict) -> dict[str, float]:
        return {
            kind: told(kind, (self.evaluated + 2) // 2 if self.evaluated >= 0 else 0) for kind in self.objective.active
        }

    monkeypatch.setattr(EarlyStopping, "_nats", tell)
    whole, _ = fit(KINDS, 1000)
    first, _ = fit(KINDS, stop)
    second, batches = session_of(KINDS, 2)
    second.restore({name: value.clone() for name, value in first.tensors().items()})
    train(second, batches, Budget(1000), Callbacks(), Intervals(1000, math.inf))
    mine, theirs = second.tensors(), whole.tensors()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs if name != "seconds")


def test_more_patience_wakes_a_head(monkeypatch: pytest.MonkeyPatch) -> None:
    judged(monkeypatch, told)
    session, _ = fit(["npr"], 1000)
    second, batches = session_of(["npr"], 5)
    second.restore(session.tensors())
    assert not second.over(Budget(1000))
    train(second, batches, Budget(1000), Callbacks(), Intervals(1000, math.inf))
    assert second.iteration == session.iteration + 6, "three evaluations more"


def test_a_state_of_other_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    session, _ = fit(["npr"], 2)
    other, _ = session_of(["sn"], 2)
    with pytest.raises(InputError, match="the saved state does not fit this training"):
        other.restore(session.tensors())


def test_a_likelihood_that_is_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    judged(monkeypatch, lambda kind, number: math.nan if number else 1.0)
    with pytest.raises(NonFiniteError, match="the held-out likelihood of the npr head is nan at iteration 2"):
        fit(["npr"], 9)


def test_losses_that_are_logged_are_of_heads_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that comes to rest leaves no half-filled mean behind: what was summed is written before."""
    judged(monkeypatch, told)
    session, batches = session_of(["npr", "banded"], 2)
    records = list[LogRecord]()
    train(session, batches, Budget(1000), Callbacks(on_log=records.append), Intervals(1000, math.inf))
    assert [record.iteration for record in records] == list(range(2, session.iteration + 1, 2))
    assert (set(records[0].loss_by_t), set(records[-1].loss_by_t)) == ({"npr", "banded"}, {"npr"})
