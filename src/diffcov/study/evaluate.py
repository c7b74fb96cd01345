"""Judge covariances along one grid: likelihood, distances of samples, calibration and exposure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from diffcov.denoiser.base import View
from diffcov.denoiser.through import through
from diffcov.diffusion.grid import Grid
from diffcov.digest import digest_of_values
from diffcov.engines.ode_likelihood import MadeNats, Nats, flow_likelihood
from diffcov.solver.base import Solver
from diffcov.store.checkpoint import MeanCheckpoint
from diffcov.store.parts import Part
from diffcov.store.run import RunFolder
from diffcov.study.bench import Bench
from diffcov.study.grids import warn_of_beginning
from diffcov.study.judged import Judged, judged
from diffcov.study.judging import classes_like_data, open_against
from diffcov.study.keeping import kept_beside
from diffcov.study.known import warn_of_view
from diffcov.study.listener import Listener, Silent
from diffcov.study.opening import Opened, held_out_examples, open_mean
from diffcov.study.paired import paired
from diffcov.study.quickest import Work, choose_way
from diffcov.study.requests.judge import CALIBRATION, DISTANCES, EXPOSURE, NLL, ODE, EvaluateRequest
from diffcov.study.scale import Scaling
from diffcov.study.wishes import Wish
from diffcov.version import __version__

__all__ = ["Evaluation", "evaluate"]

FLOW = 1
"""Version of the probability flow's likelihood; raise it when a formula changes."""
FLOOR_WARNING = 0.01
"""Share of values at the floor from which a likelihood is said to suffer."""


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes:
        document: all of it as plain values.
        grid: the visited times.
        solver: of samples.
    """

    document: dict[str, Any]
    grid: Grid
    solver: Solver

    @property
    def bits_per_dim(self) -> dict[str, float]:
        """The bound by covariance; empty if it was not measured."""
        return {name: found["bits_per_dim"] for name, found in self.document.get("nll", {}).items()}

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain values."""
        return self.document


def evaluate(request: EvaluateRequest, listener: Listener | None = None) -> Evaluation:
    """Measure; all covariances see the same noise, so their differences are sharper than their values.

    Asked again after it was stopped, it goes on where it stopped.

    Raises:
        UsageError: options that contradict each other, or a metric that has no meaning for the solver or the recipe.
        InputError: no mean, or something that is needed is missing, damaged or of another mean.
        NonFiniteError: NaN or infinity anywhere.
    """
    say, metrics = listener or Silent(), set(request.metrics)
    run = RunFolder(request.place.run)
    mean = open_mean(request.place, request.running, say, request.batch_size)
    wanted = judged(request, run, mean, say)
    solver, grid, view = wanted.solver, wanted.grid, wanted.view
    covariances = {name: one.covariance for name, one in wanted.known.items()}
    warn_of_view(wanted.known.values(), view.clip_x0, view.guidance, say)
    if wanted.start is None:
        warn_of_beginning([grid], mean.model.schedule, say)
    drawing = bool(metrics & {DISTANCES, EXPOSURE})
    scaling = Scaling(view.eps_scale, run, mean, request.batch_size, say)
    seen = View(view.clip_x0, scaling.number, view.guidance)
    through(mean.model, seen)  # a view that the mean does not allow is refused before any work
    if drawing:
        for covariance in covariances.values():
            covariance.check_solver(solver)
    against = None
    if DISTANCES in metrics:
        against = open_against(request.features, run, mean, request.count, say, request.data, request.pictures)
    forward = bool(metrics & {NLL, ODE, CALIBRATION, EXPOSURE})
    held_out = _held_out(request, run, mean, say) if forward else None
    classes = classes_like_data(run, mean, say, request.data, request.pictures) if drawing else None
    key = digest_of_values([repr(request), mean.digest])
    with kept_beside(run.path / "evaluate", key, "diffcov evaluate", say) as keeper:
        bench = Bench(
            keeper, mean, covariances, request.seed, request.batch_size,
            seen, scaling, say, held_out, against, request.count,
            classes=classes, share=wanted.share, start=wanted.start,
        )  # fmt: skip
        looks = grid.K * ((request.images if forward else 0) + (len(covariances) * request.count if drawing else 0))
        calls = -(-looks // request.batch_size) * bench.denoiser.calls
        choose_way(mean.model, Work(request.batch_size, calls), request.running.compile, say)
        document = {**_setting(request, mean, wanted), **_measured(bench, metrics, solver, grid)}
    _warn_of_floor(document, bench, say)
    return Evaluation(document, grid, solver)


def _held_out(request: EvaluateRequest, run: RunFolder, mean: MeanCheckpoint, say: Listener) -> Opened:
    return held_out_examples(run, mean, say, request.data, request.images, request.split, request.pictures)


def _setting(request: EvaluateRequest, mean: MeanCheckpoint, wanted: Judged) -> dict[str, Any]:
    known, solver, grid, view = wanted.known, wanted.solver, wanted.grid, wanted.view
    return {
        "diffcov_version": __version__,
        "mean": {"path": str(RunFolder(request.place.run).mean), "digest": mean.digest},
        "made_of": {name: one.covariance.made_of for name, one in known.items()},
        "solver": solver.label, "eta": solver.eta, "share": wanted.share,
        **({} if wanted.recipe is None else {"recipe": wanted.recipe.as_dict(), "summary": wanted.recipe.label}),
        **({} if wanted.start is None else {"start": wanted.start.as_dict()}),
        "grid": grid.name, "steps": grid.K, "times": list(grid.times),
        "clip_x0": view.clip_x0, "eps_scale": view.eps_scale, "guidance": view.guidance,
        "measured_at_this_guidance": {name: one.measured_at(view.guidance) for name, one in known.items()},
        "seed": request.seed, "precision": mean.model.precision,
        "call": mean.model.caller.way.as_dict(),
    }  # fmt: skip


def _measured(bench: Bench, metrics: set[str], solver: Solver, grid: Grid) -> dict[str, Any]:
    """Whatever was asked for and nothing else, in one pass of the network along the forward path."""
    out: dict[str, Any] = {}
    wishes: dict[str, Wish] = {}
    if NLL in metrics:
        wishes[NLL] = bench.bounds(grid)
    if CALIBRATION in metrics:
        wishes[CALIBRATION] = bench.calibration(grid.times)
    if EXPOSURE in metrics:
        wishes[EXPOSURE] = bench.norms(grid)
    bench.fulfil(list(wishes.values()))
    if bench.held_out is not None:
        out["images"] = bench.held_out.provenance
    if ODE in metrics:
        out["ode_nll"] = _flow(bench, grid)
    if NLL in wishes:
        bounds = {name: wishes[NLL].found[name] for name in bench.covariances}
        dims = bench.mean.model.data.dims
        out["nll"] = {name: {**part.values, **paired(bounds, name, dims)} for name, part in bounds.items()}
    if CALIBRATION in wishes:
        out["calibration"] = {
            "times": list(grid.times),
            "bands": bench.bands,
            "covariances": {name: wishes[CALIBRATION].found[name].values for name in bench.covariances},
        }
    if metrics & {DISTANCES, EXPOSURE}:
        parts = {name: bench.samples(name, solver, grid) for name in bench.covariances}
        out["eps_scale_values"] = {name: part.values["eps_scale_value"] for name, part in parts.items()}
    if DISTANCES in metrics and bench.against is not None:
        space, record = bench.against.space, bench.against.record
        out["distances"] = {
            "label": f"@{bench.count} {space.name}", "features": space.name, "features_digest": space.digest,
            "reference": {"count": record["count"], "source": record["source"]},
            "covariances": {
                name: {key: part.values[key] for key in ("count", "fid", "fid_stderr", "kid", "precision", "recall")}
                for name, part in parts.items()
            },
        }  # fmt: skip
    if EXPOSURE in wishes:
        out["exposure"] = {
            "times": list(grid.times),
            "forward": wishes[EXPOSURE].found["forward"].tensors["forward"].tolist(),
            "sampled": {name: part.tensors["norms"].tolist() for name, part in parts.items()},
        }
    return out


def _flow(bench: Bench, grid: Grid) -> dict[str, Any]:
    """The likelihood of the probability flow, which no covariance has a part in and no clip bends."""
    assert bench.held_out is not None
    images = bench.held_out.examples
    denoiser = through(bench.mean.model, View(clip_x0=False, guidance=bench.view.guidance))
    identity = {
        "flow": FLOW, "denoiser": denoiser.as_dict(), "seed": bench.seed, "batch_size": bench.batch_size,
        "images": bench.held_out.provenance, "times": list(grid.times),
    }  # fmt: skip

    def kept(start: int, make: MadeNats) -> Nats:
        found = bench.keeper.part(f"flow-{start}", identity)
        if found is None:
            whole, coarse = make()
            found = Part({"whole": whole, "coarse": coarse}, {})
            bench.keeper.save_part(f"flow-{start}", identity, found)
        return found.tensors["whole"], found.tensors["coarse"]

    with bench.listener.progress(f"probability flow, {grid.K} steps", len(images), "images") as bar:
        found = flow_likelihood(
            denoiser, images, grid, seed=bench.seed, batch_size=bench.batch_size, kept=kept, on_batch=bar.update
        )
    return found.as_dict()


def _warn_of_floor(document: dict[str, Any], bench: Bench, say: Listener) -> None:
    for name, bound in document.get("nll", {}).items():
        caution, share = bench.covariances[name].likelihood_caution, bound["floor_share"]
        if caution is not None and share > FLOOR_WARNING:
            say.warn(f"{name}: {100 * share:.0f} % of the variances lie at the lower bound; {caution}")
