"""What a scheduler makes again of its configuration equals what left: statistics and solvers."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from diffcov.diffusion.grid import explicit
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import InputError
from diffcov.exported.looks import PackedLooks
from diffcov.exported.packing import packed
from diffcov.exported.solvers import SOLVERS_ALONG, check_along, solver_again
from diffcov.exported.tables import PackedErrors, PackedMatrices, PackedSpectrum
from diffcov.exported.times import PackedTimes
from diffcov.solver.base import Solver
from diffcov.solver.ddim import DDIM
from diffcov.solver.registry import SOLVERS, load, make_solver
from diffcov.statistics.knots import Knots
from diffcov.statistics.matrices import ResidualMatrices
from diffcov.statistics.spectrum import CELLS, Spectrum, frequency_cells
from diffcov.study.exported_scheduler import _packed_statistic

SCHEDULE = NoiseSchedule.cosine(60)


def spectrum(height: int, width: int) -> Spectrum:
    """Two channels with a rotation, at three knots."""
    turn = torch.tensor([[0.6, 0.8], [-0.8, 0.6]], dtype=torch.float64)
    found = Spectrum.empty(Knots((1, 20, 60)), (2, height, width), turn)
    draw = torch.Generator().manual_seed(0)
    for knot in range(3):
        found.add(knot, torch.rand(4, 2, height, width, generator=draw))
    return found


def left(statistic: Spectrum) -> PackedSpectrum:
    """The statistic through JSON, as a configuration keeps it."""
    weights = statistic.knot_weights(SCHEDULE, torch.arange(1, 61))
    values: dict[str, Any] = {
        "logs": packed(statistic.mean().log()),
        "weights": packed(torch.cat([torch.zeros_like(weights[:1]), weights])),
        "colour": packed(statistic.colour),
        **{name: frequency_cells(int(n)).tolist() for name, n in zip(("rows", "columns"), statistic.size, strict=True)},
        "file": statistic.file,
        "digest": statistic.digest,
    }
    return PackedSpectrum.from_config(json.loads(json.dumps(values)))


@pytest.mark.parametrize("size", [(4, 6), (CELLS + 9, 5)], ids=["a cell a frequency", "cells of several"])
def test_a_packed_spectrum_says_what_the_statistic_says(size: tuple[int, int]) -> None:
    own = spectrum(*size)
    again, times = left(own), torch.tensor([1, 2, 33, 60])
    torch.testing.assert_close(
        again.spread(again.var_eps_in_cells(SCHEDULE, times)), own.var_eps(SCHEDULE, times), rtol=1e-12, atol=0
    )
    x = torch.randn(2, 2, *size, dtype=torch.float64)
    assert torch.equal(again.basis.forward(x), own.basis.forward(x))
    assert (again.file, again.digest) == (own.file, own.digest)


def matrices() -> ResidualMatrices:
    """Two channels with a rotation, at three knots, shrunk a little."""
    turn = torch.tensor([[0.6, 0.8], [-0.8, 0.6]], dtype=torch.float64)
    found = ResidualMatrices.empty(Knots((1, 20, 60)), (2, 2, 3), turn)
    draw = torch.Generator().manual_seed(0)
    mix = torch.randn(12, 12, generator=draw)
    for knot in range(3):
        found.add(knot, (torch.randn(40, 12, generator=draw) @ mix).reshape(-1, 2, 2, 3))
    return found


def packed_matrices(statistic: ResidualMatrices) -> PackedMatrices:
    """The statistic through JSON, as a configuration keeps it."""
    mean = SimpleNamespace(model=SimpleNamespace(schedule=SCHEDULE))
    return PackedMatrices.from_config(json.loads(json.dumps(_packed_statistic(statistic, mean))))  # type: ignore[arg-type]


def test_packed_matrices_say_what_the_statistic_says() -> None:
    own = matrices()
    again, times = packed_matrices(own), torch.tensor([1, 2, 33, 60])
    assert torch.equal(again.knot_weights(SCHEDULE, times), own.knot_weights(SCHEDULE, times))
    for knot in range(3):
        assert 0 < own.shrinkage(knot) < 1
        torch.testing.assert_close(again.at_knot(knot), own.at_knot(knot), rtol=1e-14, atol=0)
    x = torch.randn(2, 2, 2, 3, dtype=torch.float64)
    assert torch.equal(again.basis.forward(x), own.basis.forward(x))
    assert (again.shape, again.file, again.digest) == (own.shape, own.file, own.digest)


def test_large_matrices_do_not_leave() -> None:
    large = ResidualMatrices.empty(Knots((1, 20, 60)), (1, 17, 16), torch.eye(1, dtype=torch.float64))
    message = r"at most 256 values, and these have 272; export with the solver spectral-ei, or sample with diffcov$"
    with pytest.raises(InputError, match=r"^matrices leave as text in a scheduler's configuration, .*" + message):
        packed_matrices(large)


def test_packed_errors_are_numbers_by_time() -> None:
    again = PackedErrors.from_config(
        {"errors": packed([0.0, 0.25, 0.5]), "file": "variance.safetensors", "digest": "a"}
    )
    assert [again.error_at(t) for t in (1, 2)] == [0.25, 0.5]


TOLD: dict[str, Any] = {
    "order": 1, "weight": 0.5, "through": "eps_hat", "eta": (1.0, 0.5, 0.0), "mse": 0.25, "low_band": 0.2
}  # fmt: skip


def told(name: str) -> Solver:
    """The solver with another value of whatever it can be told."""
    own = {one.name for one in fields(load(name))}  # type: ignore[arg-type]
    return load(name).of(**{key: value for key, value in TOLD.items() if key in own})


ALL = [*(make_solver(name) for name in SOLVERS), *(told(name) for name in SOLVERS)]


@pytest.mark.parametrize("solver", ALL, ids=lambda solver: solver.label)
def test_a_solver_is_made_again_of_what_it_says_of_itself(solver: Solver) -> None:
    known: dict[str, Any] = {
        "spectrum": left(spectrum(4, 4)),
        "table": PackedErrors(torch.ones(61), "variance.safetensors", "a"),
        "matrices": packed_matrices(matrices()),
    }
    first = solver.given(known) if solver.needs else solver
    again = solver_again(json.loads(json.dumps(first.as_dict())), known)
    assert type(again) is type(first)
    assert again == first
    assert again.as_dict() == first.as_dict()
    steps = again.steps(SCHEDULE, explicit(60, (1, 30, 60)))
    assert [step.eta for step in steps] == [step.eta for step in first.steps(SCHEDULE, explicit(60, (1, 30, 60)))]


def test_all_of_our_solvers_are_taken_along() -> None:
    assert {name: load(name) for name in SOLVERS} == SOLVERS_ALONG


@dataclass(frozen=True)
class Louder(DDIM):
    """A solver of an extension that goes by the name of ours."""

    def mean(self, step: Any, look: Any) -> Tensor:
        return 2 * super().mean(step, look)


def test_a_solver_that_only_has_the_name_of_one_is_refused() -> None:
    check_along(DDIM())
    with pytest.raises(
        InputError, match="the solver ddim is no part of diffcov, and an exported scheduler takes along"
    ):
        check_along(Louder())


def test_times_are_a_rule_or_a_list() -> None:
    """A list, or one eta a step, has one number of steps, whether or not the configuration says it again."""
    rule = PackedTimes(SCHEDULE, "even", None, 0.0, None)
    assert (rule.own_steps, rule.most) == (None, 60)
    assert rule.grid(3, None).times == (1, 30, 60)
    assert rule.grid(None, (9, 4, 60)).times == (4, 9, 60)
    started = PackedTimes(SCHEDULE, "even", 41, 0.0, 5)
    assert (started.own_steps, started.most) == (5, 41)
    assert started.grid(None, None).times == (1, 11, 21, 31, 41)
    for only in (
        PackedTimes(SCHEDULE, [1, 9, 30], None, 0.0, None),
        PackedTimes(SCHEDULE, "even", None, (1.0, 0.0, 0.5), None),
    ):
        assert (only.own_steps, only.most) == (3, 3)
        with pytest.raises(ValueError, match=r"^this sampler has 3 steps, each with its own time or noise, and not 4;"):
            only.grid(4, None)
    with pytest.raises(ValueError, match=r"^how many steps\? this sampler has no number of its own"):
        rule.grid(None, None)


def test_a_learned_variance_is_no_part_of_a_look() -> None:
    """A network that says twice as many channels says the image first."""
    x, output = torch.randn(2, 2, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    looks = PackedLooks(SCHEDULE, "eps", 1.02, (-1.0, 1.0))
    wide, plain = looks.at(torch.cat([output, x], 1), x, 30), looks.at(output, x, 30)
    assert torch.equal(wide.x0_hat, plain.x0_hat)
    assert torch.equal(wide.eps_hat, plain.eps_hat)
    torch.testing.assert_close(plain.eps_hat, output / 1.02)
