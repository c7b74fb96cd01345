"""Shortest paths against all paths there are, and their costs against the bound they stand for."""

from __future__ import annotations

import math
from itertools import combinations, pairwise

import pytest
import torch
from torch import Tensor

from diffcov.covariance import registry
from diffcov.covariance.base import Covariance
from diffcov.denoiser.base import View
from diffcov.denoiser.mean_model import MeanModel
from diffcov.denoiser.through import through
from diffcov.diffusion.grid import Grid, explicit
from diffcov.diffusion.grids import even
from diffcov.diffusion.optimal import OptimalGrids
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.forward import measure
from diffcov.engines.meters.decomposition import Decomposition, DecompositionMeter, shortest_paths
from diffcov.engines.meters.likelihood import LikelihoodMeter
from diffcov.errors import NonFiniteError, UsageError
from oracles.diagonal import DiagonalWorld
from oracles.tiny import DATA, tiny_covariance, tiny_examples, tiny_model

T = 12
EXAMPLES = tiny_examples(4)
CLIPPED = View(clip_x0=True)
HEIGHT = 12
"""Candidates of a random problem."""


def random_problem(seed: int, negative: bool = False) -> Decomposition:
    """Every path of the same length is about as good as any other; candidate times with gaps."""
    draw = torch.Generator().manual_seed(seed)
    candidates = (torch.randperm(50, generator=draw)[:HEIGHT] + 1).sort().values
    terms = torch.rand(HEIGHT + 1, HEIGHT + 1, generator=draw, dtype=torch.float64) - 0.5 * negative
    step = torch.ones_like(terms, dtype=torch.bool).triu(1)
    prior = torch.rand(HEIGHT + 1, generator=draw, dtype=torch.float64)
    prior[0] = math.inf
    return Decomposition(50, 64, candidates, terms.masked_fill(~step, math.inf), prior)


def exhaustive(found: Decomposition, K: int) -> tuple[float, tuple[int, ...]]:
    """The least cost of all K times, and those times."""
    times = found.candidates.tolist()

    def cost(path: tuple[int, ...]) -> float:
        terms = [float(found.terms[j, i]) for j, i in zip((0, *path), path, strict=False)]
        return math.fsum(terms) + float(found.prior[path[-1]])

    path = min(combinations(range(1, len(times) + 1), K), key=cost)
    return cost(path), tuple(times[i - 1] for i in path)


def check_paths(found: Decomposition, best: OptimalGrids) -> None:
    """Of every K: K times, strictly increasing, among the candidates, and worth what is said of them."""
    candidates = set(found.candidates.tolist())
    assert best.longest == len(candidates)
    assert math.isinf(float(best.cost[0]))
    for K in range(1, best.longest + 1):
        grid = best.grid(K)
        assert grid.K == K
        assert grid.T == found.T
        assert set(grid.times) <= candidates
        assert list(grid.times) == sorted(set(grid.times))
        assert found.cost(grid) == pytest.approx(float(best.cost[K]), rel=1e-12)
        assert found.cost(explicit(found.T, grid.times)) == found.cost(grid)


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_random_terms(seed: int, negative: bool) -> None:
    found = random_problem(seed, negative)
    best = shortest_paths(found)
    check_paths(found, best)
    for K in range(1, HEIGHT + 1):
        cost, times = exhaustive(found, K)
        assert float(best.cost[K]) == pytest.approx(cost, rel=1e-12), K
        assert best.grid(K).times == times, K
    assert best.grid(HEIGHT).times == tuple(found.candidates.tolist())


def test_one_candidate() -> None:
    found = Decomposition(9, 4, torch.tensor([5]), torch.tensor([[math.inf, 2.0], [math.inf] * 2]).double(),
                          torch.tensor([math.inf, 3.0]).double())  # fmt: skip
    best = shortest_paths(found)
    assert best.cost.tolist() == [math.inf, 5.0]
    assert best.grid(1).times == (5,)


def test_a_long_problem_agrees_with_the_plain_recursion() -> None:
    """M = 60: blocks of other offsets than those of twelve candidates."""
    M, draw = 60, torch.Generator().manual_seed(0)
    terms = torch.rand(M + 1, M + 1, generator=draw, dtype=torch.float64)
    terms = terms.masked_fill(~torch.ones_like(terms, dtype=torch.bool).triu(1), math.inf)
    prior = torch.rand(M + 1, generator=draw, dtype=torch.float64)
    prior[0] = math.inf
    found = Decomposition(M, 1, torch.arange(1, M + 1), terms, prior)
    best = shortest_paths(found)
    check_paths(found, best)
    reached = torch.full((M + 1,), math.inf, dtype=torch.float64)
    reached[0] = 0
    for K in range(1, M + 1):
        reached = (reached[:, None] + terms).min(0).values
        assert float(best.cost[K]) == pytest.approx(float((reached + prior).min()), rel=1e-12), K


# --- forbidden edges and broken terms


def test_forbidden_edges_are_never_used() -> None:
    found = random_problem(1)
    forbidden = [(0, 1), (2, 3), (3, 7), (1, 4), (9, 10)]
    terms = found.terms.clone()
    for j, i in forbidden:
        terms[j, i] = -5  # what would be used most
    tempted = shortest_paths(Decomposition(50, 64, found.candidates, terms, found.prior))
    for j, i in forbidden:
        terms[j, i] = math.inf
    # With every candidate in the path all neighbouring edges are used, so those few must stay.
    terms[0, 1] = terms[2, 3] = terms[9, 10] = 40.0
    held = Decomposition(50, 64, found.candidates, terms, found.prior)
    best = shortest_paths(held)
    numbers = {t: i for i, t in enumerate(found.candidates.tolist(), start=1)}

    def edges(grid: Grid) -> set[tuple[int, int]]:
        path = [0, *(numbers[t] for t in grid.times)]
        return set(pairwise(path))

    for K in range(1, HEIGHT + 1):
        assert not edges(best.grid(K)) & {(3, 7), (1, 4)}, K
        assert float(best.cost[K]) == pytest.approx(exhaustive(held, K)[0], rel=1e-12)
    used = set().union(*(edges(tempted.grid(K)) for K in range(1, HEIGHT + 1)))
    assert {(3, 7), (1, 4)} & used, "they were worth avoiding"


def test_a_length_without_a_finite_path_is_refused() -> None:
    found = random_problem(2)
    found.terms[4, 5] = math.inf  # only the path through all twelve needs it
    with pytest.raises(NonFiniteError, match="no grid of 12 steps has a finite likelihood"):
        shortest_paths(found)
    found.terms[0, 1:] = math.inf
    with pytest.raises(NonFiniteError, match="no grid of 1 steps has a finite likelihood"):
        shortest_paths(found)


@pytest.mark.parametrize("where", ["terms", "prior"])
def test_nan_is_refused(where: str) -> None:
    good = random_problem(3)
    terms, prior = good.terms.clone(), good.prior.clone()
    (terms[3] if where == "terms" else prior)[7] = math.nan
    times = [0, *good.candidates.tolist()]
    first = f"transition terms .* first that of t={times[7]} to t={times[3]}:"
    said = first if where == "terms" else f"prior terms .* first that of t={times[7]}:"
    with pytest.raises(NonFiniteError, match=said):
        Decomposition(50, 64, good.candidates, terms, prior)


@pytest.mark.parametrize("K", [0, -1, HEIGHT + 1])
def test_lengths_that_were_not_searched_are_refused(K: int) -> None:
    best = shortest_paths(random_problem(4))
    with pytest.raises(UsageError, match=f"searched among 12 times, and {K} steps were asked for"):
        best.grid(K)


def test_the_cost_of_a_time_that_was_not_measured_is_refused() -> None:
    found = random_problem(5)
    absent = next(t for t in range(1, 51) if t not in set(found.candidates.tolist()))
    with pytest.raises(UsageError, match=f"t={absent} is not among the 12 times that were measured"):
        found.cost(explicit(50, (absent,)))


# --- a real network


@pytest.fixture(scope="module")
def model() -> MeanModel:
    return tiny_model(T)


def decomposition(
    model: MeanModel, covariance: Covariance, candidates: tuple[int, ...], batch_size: int = 4
) -> Decomposition:
    meter = DecompositionMeter(model.schedule, DATA, covariance, candidates, len(EXAMPLES))
    assert meter.times == candidates
    measure(through(model, CLIPPED), EXAMPLES, [meter], seed=6, batch_size=batch_size)
    return meter.result()


def mean_bound(model: MeanModel, covariance: Covariance, grids: list[Grid]) -> list[float]:
    meter = LikelihoodMeter(model.schedule, DATA, {"it": covariance}, grids, len(EXAMPLES))
    measure(through(model, CLIPPED), EXAMPLES, [meter], seed=6, batch_size=4)
    return [float(meter.result("it", grid).nats.mean()) for grid in grids]


@pytest.mark.parametrize("name", registry.COVARIANCES)
def test_a_real_network_s_terms(model: MeanModel, name: str) -> None:
    """Exhaustive for K = 1..6 and 12; the costs are the bounds that the likelihood finds; no K is worse than even."""
    covariance = tiny_covariance(name, model)
    found = decomposition(model, covariance, tuple(range(1, T + 1)))
    best = shortest_paths(found)
    check_paths(found, best)
    for K in (1, 2, 3, 4, 5, 6, T):
        cost, times = exhaustive(found, K)
        assert float(best.cost[K]) == pytest.approx(cost, rel=1e-12), K
        assert best.grid(K).times == times, K
    lengths = list(range(1, T + 1))
    bounds = mean_bound(model, covariance, [best.grid(K) for K in lengths])
    assert bounds == pytest.approx([float(best.cost[K]) for K in lengths], rel=1e-6)
    others = mean_bound(model, covariance, [even(T, K) for K in lengths])
    for K, bound, other in zip(lengths, bounds, others, strict=True):
        assert bound <= other * (1 + 1e-9), K
        assert found.cost(even(T, K)) == pytest.approx(other, rel=1e-6)


def test_among_some_candidates_alone(model: MeanModel) -> None:
    """Terms between two candidates do not depend on which others there are."""
    covariance, chosen = tiny_covariance("npr", model), (2, 3, 7, 12)
    some, every = decomposition(model, covariance, chosen), decomposition(model, covariance, tuple(range(1, T + 1)))
    picked = torch.tensor([0, *chosen])
    assert some.candidates.tolist() == list(chosen)
    torch.testing.assert_close(some.terms, every.terms[picked][:, picked], rtol=1e-12, atol=0)
    torch.testing.assert_close(some.prior, every.prior[picked], rtol=1e-12, atol=0)
    check_paths(some, shortest_paths(some))
    assert (some.T, some.dims) == (T, 64)


def test_what_cannot_be_a_step_is_infinite(model: MeanModel) -> None:
    found = decomposition(model, tiny_covariance("small", model), tuple(range(1, T + 1)))
    step = torch.ones(T + 1, T + 1, dtype=torch.bool).triu(1)
    assert torch.isfinite(found.terms[step]).all()
    assert torch.isposinf(found.terms[~step]).all()
    assert found.prior.isinf().tolist() == [True] + [False] * T


def test_batches_do_not_matter(model: MeanModel) -> None:
    covariance, candidates = tiny_covariance("sn", model), (1, 5, 9)
    whole, parts = (decomposition(model, covariance, candidates, size) for size in (4, 3))
    torch.testing.assert_close(parts.terms, whole.terms, rtol=2e-5, atol=0)
    torch.testing.assert_close(parts.prior, whole.prior, rtol=1e-12, atol=0)


def test_exact_terms_are_additive_between_candidates() -> None:
    """In the Gaussian world half log(1 + rho var) telescopes: a detour through a third time is free."""
    schedule = NoiseSchedule.linear(1000)
    world = DiagonalWorld(schedule, torch.full(DATA.shape, 0.25, dtype=torch.float64))
    for a, b, c in [(1, 2, 3), (10, 300, 1000), (998, 999, 1000)]:

        def term(s: int, t: int) -> Tensor:
            return (schedule.snr_gain(torch.tensor([s]), t) * world.cov_x0(t).flatten()[0]).log1p()

        torch.testing.assert_close(term(a, b) + term(b, c), term(a, c), rtol=1e-9, atol=0)
