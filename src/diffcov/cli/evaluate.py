"""``diffcov evaluate``: likelihood, distances, calibration and exposure of covariances along one trajectory."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from diffcov.cli import options as opt
from diffcov.cli.console import finish, progress, show, warn


class Metric(Enum):
    """What can be measured."""

    NLL = "nll"
    DISTANCES = "distances"
    CALIBRATION = "calibration"
    EXPOSURE = "exposure"


FLOOR_WARNING = 0.01
"""Share of values at the floor from which a likelihood is said to suffer."""


def command(
    run: opt.RunDir = opt.DEFAULT_RUN,
    metrics: Annotated[
        str,
        typer.Option(
            metavar="NAME,..",
            help="nll (bits/dim), distances (fid, kid, precision, recall), calibration, exposure.",
            autocompletion=lambda: [metric.value for metric in Metric],
        ),
    ] = "nll",
    covariance: opt.Covariances = "auto",
    steps: Annotated[int | None, typer.Option(metavar="K", help="Steps. [default: 50]")] = None,
    images: Annotated[int, typer.Option(metavar="N", min=1, help="Images to evaluate on.")] = 256,
    split: opt.Split = None,
    data: opt.Data = None,
    count: Annotated[int, typer.Option(metavar="N", min=1, help="Samples to draw for distances.")] = 1000,
    features: opt.Features = "auto",
    reference: opt.Reference = None,
    as_json: opt.Json = False,
    process: Annotated[
        Literal["ddpm", "ddim"], typer.Option(help="Forward process.", rich_help_panel=opt.SAMPLING)
    ] = "ddpm",
    eta: Annotated[
        float | None, typer.Option(metavar="X", help="Noise of ddim, 0..1. [default: 0]", rich_help_panel=opt.SAMPLING)
    ] = None,
    trajectory: Annotated[
        str,
        typer.Option(metavar="NAME|T,T,..", help="even, ddim, quad, optimal or times.", rich_help_panel=opt.SAMPLING),
    ] = "even",
    clip_x0: opt.ClipX0 = True,
    eps_scale: opt.EpsScale = "1",
    batch_size: opt.Batch = 256,
    seed: opt.Number = 0,
    device: opt.Device = "auto",
    precision: opt.Precision = None,
) -> None:
    """Measure covariances: the bound on the likelihood term by term, distances of samples, calibration.

    All covariances see the same noise, so their differences are sharper than their values.
    """
    from diffcov.present.terminal.tables import lines as result_lines

    result = evaluate(
        run, _metrics(metrics), covariance, steps, images, split, data, count, features, reference,
        process_name=process, eta=eta, trajectory_name=trajectory, clip_x0=clip_x0, eps_scale=eps_scale,
        batch_size=batch_size, seed=seed, device=device, precision=precision,
    )  # fmt: skip
    finish(result, as_json, "\n".join(result_lines(result)))


def evaluate(
    folder: Path,
    metrics: frozenset[Metric],
    covariance_names: str,
    steps: int | None,
    image_count: int,
    split: str | None,
    data: str | None,
    sample_count: int,
    features: str,
    stats: Path | None,
    *,
    process_name: Literal["ddpm", "ddim"],
    eta: float | None,
    trajectory_name: str,
    clip_x0: bool,
    eps_scale: str,
    batch_size: int,
    seed: int,
    device: str,
    precision: str | None,
) -> dict[str, Any]:
    """Measure; returns what ``--json`` prints."""
    import diffcov
    from diffcov.cli.eps_scale_choice import EpsScale, canonical_eps_scale
    from diffcov.cli.feature_space import open_features, open_reference
    from diffcov.cli.opening import (
        open_covariances,
        open_held_out,
        open_mean,
        open_training_images,
        warn_unclipped,
    )
    from diffcov.cli.trajectory_choice import NAMED, OPTIMAL, check_made_for, open_optimal, pick_trajectory
    from diffcov.covariance.clipping import default_cap_levels
    from diffcov.diffusion.process import PROCESSES
    from diffcov.engines.distances.frechet import require_enough
    from diffcov.engines.forward import Meter, measure
    from diffcov.engines.meters.calibration import CalibrationMeter
    from diffcov.engines.meters.exposure import NormMeter
    from diffcov.engines.meters.likelihood import LikelihoodMeter, check_bounded
    from diffcov.engines.sampling import Sampler
    from diffcov.present.terminal import tables
    from diffcov.store.run import Run
    from diffcov.study.choice import Use
    from diffcov.study.draw import draw

    run, process = Run(folder), PROCESSES[process_name](eta)
    eps_scale = canonical_eps_scale(eps_scale)
    if Metric.NLL in metrics:
        check_bounded(process)
    mean = open_mean(run, device, precision)
    schedule, described = mean.spec.schedule, mean.spec.data
    if steps is None and trajectory_name in NAMED:
        steps = min(50, schedule.T)
    searched_for = _one(run, covariance_names) if trajectory_name == OPTIMAL else ""
    covariance_names = searched_for or covariance_names
    optimal = open_optimal(trajectory_name, run, searched_for, mean.digest)
    trajectory = pick_trajectory(trajectory_name, schedule.T, steps, optimal)
    use = Use(process, trajectory.K, trajectory.name, eps_scale, clip_x0)
    loaded = open_covariances(run, covariance_names, mean, trajectory.times, use)
    covariances = {name: found.covariance for name, found in loaded.items()}
    if optimal is not None:
        check_made_for(optimal, searched_for, loaded[searched_for].digests, clip_x0)
    warn_unclipped(covariances.values(), clip_x0)
    drawing = metrics & {Metric.DISTANCES, Metric.EXPOSURE}
    cap = default_cap_levels(schedule, process)
    samplers = {name: Sampler(found, process, trajectory, cap, clip_x0) for name, found in covariances.items()} \
        if drawing else {}  # fmt: skip
    against = None
    if Metric.DISTANCES in metrics:
        space = open_features(features, run, mean, mean.model.device)
        require_enough(sample_count, space.dims, "samples")
        training, came_from = open_training_images(mean, None, None)
        reference = open_reference(space, run, training, came_from, stats)
        against = space, reference

    result: dict[str, Any] = {
        "diffcov_version": diffcov.__version__,
        "mean": {"path": str(run.mean), "digest": mean.digest},
        "fitted": {name: found.digests for name, found in loaded.items()},
        "process": process.name, "eta": process.eta, "trajectory": trajectory.name, "steps": trajectory.K,
        "times": list(trajectory.times), "clip_x0": clip_x0, "seed": seed,
        "precision": precision or mean.spec.precision, "eps_scale": eps_scale,
    }  # fmt: skip
    meters: list[Meter] = []
    if metrics & {Metric.NLL, Metric.CALIBRATION, Metric.EXPOSURE}:
        pixels, provenance = open_held_out(mean, data, image_count, split)
        result["images"] = provenance
        N = pixels.shape[0]
        forward = NormMeter(trajectory.times)
        likelihood = LikelihoodMeter(schedule, described, covariances, [trajectory], N)
        calibration = CalibrationMeter(schedule, described, covariances, trajectory.times)
        meters += [likelihood] if Metric.NLL in metrics else []
        meters += [calibration] if Metric.CALIBRATION in metrics else []
        meters += [forward] if Metric.EXPOSURE in metrics else []
        with progress("forward path", trajectory.K * N, "calls") as bar:
            measure(mean.model, pixels, meters, seed=seed, batch_size=batch_size, clip_x0=clip_x0, on_look=bar.update)
    if Metric.NLL in metrics:
        result["nll"] = {name: likelihood.result(name, trajectory).as_dict() for name in covariances}
        show(tables.likelihood(result["nll"], trajectory, N))
        for name, bound in result["nll"].items():
            share = bound["floor_share"]
            caution = covariances[name].likelihood_caution
            if caution is not None and share > FLOOR_WARNING:
                warn(f"{name}: {100 * share:.0f} % of the variances lie at the lower bound; {caution}")
    if Metric.CALIBRATION in metrics:
        found = {name: calibration.result(name) for name in covariances}
        result["calibration"] = {
            "times": list(trajectory.times),
            "bands": list(calibration.bands),
            "covariances": {name: one.as_dict() for name, one in found.items()},
        }
        for name in covariances:
            show(tables.calibration(name, result["calibration"]))
    if drawing:
        scale = EpsScale(eps_scale, run, mean, precision or mean.spec.precision, batch_size)
        drawn, result["eps_scale_values"] = {}, {}
        for name, plain in samplers.items():
            sampler = scale.applied(plain, loaded[name])
            result["eps_scale_values"][name] = sampler.eps_scale
            with progress(f"sample {name}", sample_count, "images") as bar:
                drawn[name] = draw(
                    mean.model, sampler, sample_count, against,
                    seed=seed, batch_size=batch_size, on_batch=bar.update,
                )  # fmt: skip
    if Metric.DISTANCES in metrics:
        result["distances"] = {
            "label": f"@{sample_count} {space.name}", "features": space.name, "features_digest": space.digest,
            "reference": {"count": reference.count, "source": str(stats or came_from["source"])},
            "covariances": {name: one.distances.as_dict() for name, one in drawn.items() if one.distances},
        }  # fmt: skip
        show(tables.distances(result["distances"], process.name, trajectory, eps_scale))
    if Metric.EXPOSURE in metrics:
        result["exposure"] = {
            "times": list(trajectory.times),
            "forward": forward.mean().tolist(),
            "sampled": {name: one.norms.tolist() for name, one in drawn.items()},
        }
        show(tables.exposure(result["exposure"]))
    return result


def _one(run: Any, names: str) -> str:
    from diffcov.errors import UsageError
    from diffcov.study.choice import choose

    if names == "all" or "," in names:
        raise UsageError(
            f"optimal times belong to one covariance, and --covariance {names} was given; name one, or list the times"
        )
    return choose(run, names).name


def _metrics(text: str) -> frozenset[Metric]:
    from diffcov.errors import UsageError

    known = {metric.value: metric for metric in Metric}
    asked = [part.strip() for part in text.split(",")]
    for part in asked:
        if part not in known:
            raise UsageError(f"--metrics takes {', '.join(known)} with commas between; found {part!r}")
    return frozenset(known[part] for part in asked)
