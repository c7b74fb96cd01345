"""What ``estimate-var`` measures: each kind of statistics begun or extended, saved, and shown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from diffcov.cli.console import note, progress, show
from diffcov.denoiser.network import PRECISIONS
from diffcov.engines.sweep import Residuals, estimate, estimate_residuals
from diffcov.errors import InputError
from diffcov.present.terminal.curves import variance_curves
from diffcov.statistics.knots import Knots
from diffcov.statistics.matrices import ResidualMatrices, check_dims
from diffcov.statistics.spectrum import Spectrum
from diffcov.store.checkpoint import MeanCheckpoint
from diffcov.store.measured import MeasuredFile
from diffcov.store.residuals import load_matrices, load_spectrum, save_matrices, save_spectrum
from diffcov.store.run import Run
from diffcov.store.table import TableFile, save_table

__all__ = ["EarlierResiduals", "Measurement", "extend_residuals", "extend_table", "open_residuals"]


@dataclass(frozen=True)
class Measurement:
    """What all statistics of one call share.

    Attributes:
        run: where they are kept.
        mean: the mean model.
        images: uint8 (N, C, H, W) on its device.
        provenance: where these came from.
        seed, batch_size, precision: as on the command line; what is extended goes on with its own.
    """

    run: Run
    mean: MeanCheckpoint
    images: Tensor
    provenance: dict[str, Any]
    seed: int
    batch_size: int
    precision: str

    @property
    def flip(self) -> bool:
        """Whether images are mirrored, as in training."""
        return bool(self.mean.training["settings"].get("flip", False))

    def go_on(self, earlier: MeasuredFile[Any] | None, path: Path) -> tuple[int, int, str]:
        """(first sample, seed, precision) of what is measured now; the model is set to that precision.

        Raises:
            InputError: what is there was measured on other images.
        """
        if earlier is None:
            first, seed, precision = 0, self.seed, self.precision
        else:
            if earlier.config["data"]["digest"] != self.provenance["digest"]:
                raise InputError(
                    f"--add needs the images that {path} was measured on; give the same --data and --limit"
                )
            first, seed, precision = (earlier.config[key] for key in ("samples", "seed", "precision"))
        self.mean.model.autocast = PRECISIONS[precision]
        return first, seed, precision

    def config(self, samples: int, seed: int, precision: str, times: list[int]) -> dict[str, Any]:
        """What is written beside the statistics."""
        return {
            "samples": samples,
            "times": times,
            "seed": seed,
            "flip": self.flip,
            "precision": precision,
            "data": self.provenance,
        }


def extend_table(m: Measurement, earlier: TableFile | None, times: list[int], samples: int) -> dict[str, Any]:
    """Begin or extend the variance table; returns what ``--json`` prints of it."""
    first, seed, precision = m.go_on(earlier, m.run.table)
    times = earlier.config["times"] if earlier is not None else times
    with progress("estimate-var", len(times) * samples, "images") as bar:
        table = estimate(
            m.mean.model, m.images, times, samples,
            seed=seed, first=first, batch_size=m.batch_size, flip=m.flip, on_batch=bar.update,
        )  # fmt: skip
    if earlier is not None:
        table = table.merge(earlier.statistics)
    digest = save_table(
        m.run.table, table, m.mean.spec, m.mean.digest, m.config(first + samples, seed, precision, times)
    )

    Gamma, error_sq, above = table.eps_hat_moments.mean(), table.error_moments.mean(), table.above_one
    if above:
        worst = max(above, key=lambda t: float(Gamma[t]))
        largest = float(Gamma[worst])
        note(
            f"E||eps_hat||^2/d exceeds 1 at {len(above)} of {len(times)} times (largest {largest:.4f} at t={worst}): "
            "the mean is imperfect there, and analytic takes its lower bound"
        )
    relative = table.error_moments.stderr()[times] / error_sq[times]
    error = float(relative.nanmedian()) if first + samples > 1 else None
    shown = "unknown from one image" if error is None else f"{100 * error:.1f} %"
    note(f"{first + samples} images at {len(times)} times; median standard error of a variance {shown}")
    show(variance_curves(table, m.mean.spec.schedule, m.mean.spec.data.var_bound))
    return {
        "table": str(m.run.table),
        "digest": digest,
        "samples": first + samples,
        "times": len(times),
        "above_one": above,
        "median_relative_stderr": error,
        "error_sq": {str(t): float(error_sq[t]) for t in times},
        "Gamma": {str(t): float(Gamma[t]) for t in times},
    }


@dataclass(frozen=True)
class EarlierResiduals:
    """Spectrum and matrices to go on from, None where they begin."""

    spectrum: MeasuredFile[Spectrum] | None
    matrices: MeasuredFile[ResidualMatrices] | None


def open_residuals(m: Measurement, *, full: bool, add: bool) -> EarlierResiduals:
    """What :func:`extend_residuals` goes on from, once it is sure that it can: nothing has been measured yet.

    Raises:
        InputError: one of them was measured without the other, on other images, or on another mean; or matrices of
            images that are too large.
    """
    if full:
        check_dims(m.mean.spec.data.dims)
    spectrum = load_spectrum(m.run.spectrum, m.mean.digest) if add and m.run.spectrum.is_file() else None
    matrices = load_matrices(m.run.matrices, m.mean.digest) if add and full and m.run.matrices.is_file() else None
    first, _, _ = m.go_on(spectrum, m.run.spectrum)
    if full and spectrum is not None and (matrices is None or matrices.config["samples"] != first):
        held = "does not exist" if matrices is None else f"holds other images than {m.run.spectrum}"
        raise InputError(
            f"--add --full goes on with spectrum and matrices together, and {m.run.matrices} {held}; "
            "add with --no-full, or measure anew with --full --force"
        )
    return EarlierResiduals(spectrum, matrices)


def extend_residuals(m: Measurement, held: EarlierResiduals, knots: int, samples: int, *, full: bool) -> dict[str, Any]:
    """Begin or extend the spectrum, and the residual matrices if asked for; returns what ``--json`` prints of them.

    Both are measured in one sweep, so they go on from the same sample.
    """
    earlier, pairs = held.spectrum, held.matrices
    first, seed, precision = m.go_on(earlier, m.run.spectrum)
    schedule = m.mean.spec.schedule
    places = Knots.spread(schedule, knots) if earlier is None else Knots(tuple(earlier.config["times"]))
    with progress("spectrum", len(places.times) * samples, "images") as bar:
        found = estimate_residuals(
            m.mean.model, m.images, places, samples,
            matrices=full, seed=seed, first=first, batch_size=m.batch_size, flip=m.flip,
            colour=earlier.statistics.colour if earlier is not None else None, on_batch=bar.update,
        )  # fmt: skip
    if earlier is not None:
        found = Residuals(
            found.spectrum.merge(earlier.statistics),
            found.matrices.merge(pairs.statistics) if found.matrices is not None and pairs is not None else None,
        )
    config = m.config(first + samples, seed, precision, list(places.times))
    spec, trunk = m.mean.spec, m.mean.digest
    result: dict[str, Any] = {"spectrum": str(m.run.spectrum), "knots": list(places.times)}
    result["spectrum_digest"] = save_spectrum(m.run.spectrum, found.spectrum, spec, trunk, config)
    result["spectrum_samples"] = first + samples
    if found.matrices is not None:
        result["matrices"] = str(m.run.matrices)
        result["matrices_digest"] = save_matrices(m.run.matrices, found.matrices, spec, trunk, config)
    mean = found.spectrum.mean().flatten(1)
    dynamic = float((mean.amax(1) / mean.amin(1)).log10().max())
    note(
        f"{first + samples} images at {len(places.times)} knots; over the frequencies of one time the error differs by "
        f"up to {dynamic:.1f} orders of magnitude"
    )
    return result
