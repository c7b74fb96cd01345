"""Everything on the embedded digits: train, measure, fit, compare."""

from __future__ import annotations

from diffcov.covariance.registry import heads
from diffcov.engines.distances.frechet import require_enough
from diffcov.nets.classifier import FEATURES
from diffcov.study.compare import Comparison, compare
from diffcov.study.estimate import estimate_var
from diffcov.study.fit import fit_var_head
from diffcov.study.listener import Listener, Silent
from diffcov.study.requests.demo import DemoRequest
from diffcov.study.requests.judge import CompareRequest
from diffcov.study.requests.measure import EstimateRequest
from diffcov.study.requests.shared import Place, Running
from diffcov.study.requests.train import (
    BudgetChoice,
    FitRequest,
    HeadChoice,
    NetworkChoice,
    ResumeChoice,
    TrainRequest,
)
from diffcov.study.train import train_mean

__all__ = ["STEPS", "demo"]

STEPS = (5, 10, 50)


def demo(request: DemoRequest, listener: Listener | None = None) -> Comparison:
    """The four commands in their order, every covariance and head with the same seeds.

    Raises:
        UsageError: fewer samples than the classifier's features have dimensions.
        OutputError: something is already there.
        Interrupted: the listener wanted to stop a training.
    """
    require_enough(request.count, FEATURES, "samples")  # before minutes of training, not after
    say = listener or Silent()
    place, running = Place(run=request.run), Running(device=request.device)
    again = ResumeChoice(force=request.force)
    say.note("1/4 train-mean")
    train_mean(
        TrainRequest(
            place, NetworkChoice(data="digits"), again,
            budget=BudgetChoice(request.iterations), device=request.device,
        ),
        say,
    )  # fmt: skip
    say.note("2/4 estimate-var")
    estimate_var(
        EstimateRequest(
            place, samples=request.samples, knot_samples=request.knot_samples, force=request.force, running=running
        ),
        say,
    )
    say.note("3/4 fit-var-head")
    fit_var_head(
        FitRequest(
            place, HeadChoice(kind=tuple(heads())), again,
            budget=BudgetChoice(request.head_iterations), device=request.device,
        ),
        say,
    )  # fmt: skip
    say.note("4/4 compare, every covariance with the same seeds")
    return compare(CompareRequest(place, steps=STEPS, count=request.count, force=request.force, running=running), say)
