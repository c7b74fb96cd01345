"""A published table of norms (``ms_eps``) becomes the run's variance table, which knows E||eps_hat||^2 alone."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from diffcov.data import ExampleSet
from diffcov.denoiser.mean_model import MeanModel
from diffcov.diffusion.grids import even
from diffcov.engines.sweep import estimate
from diffcov.errors import InputError, NonFiniteError, UsageError
from diffcov.statistics.table import VarianceTable
from diffcov.store.atomic import refuse_existing
from diffcov.store.checkpoint import read_mean
from diffcov.store.foreign.facts import Fact
from diffcov.store.run import RunFolder
from diffcov.store.statistics import save_statistic
from diffcov.study.listener import Listener
from diffcov.study.opening import open_mean, training_examples
from diffcov.study.requests.bring import ImportRequest
from diffcov.study.requests.shared import Place, Running

__all__ = ["check_norms", "import_norms", "table_of"]

LEVELS, IMAGES = 8, 64
"""Times and images of the check."""
NEAR_ONE = 0.5, 1.5
"""What E||eps_hat||^2 / d can be at t = T, where x_t is the noise itself."""
APART, SURE = 0.02, 5.0
"""A published norm may be off by so much, and by so many standard errors more."""


def table_of(norms: Tensor, T: int, source: Path) -> VarianceTable:
    """The table of t = 1..T from numbers of t = 0..T, the first of which is not used.

    Raises:
        InputError: another number of them, or numbers that are no norms of a trained mean.
        NonFiniteError: NaN or infinity.
    """
    if len(norms) != T + 1:
        raise InputError(
            f"{source} holds {len(norms)} numbers, and a table of norms for this mean has one for each t = 0..{T}; "
            "give the one that belongs to it"
        )
    own = norms[1:]
    if not bool(torch.isfinite(own).all()):
        raise NonFiniteError(f"{source} holds NaN or infinity; it is no table of norms")
    low, high = NEAR_ONE
    lowest = 1 + int(own.argmin())
    if own[lowest - 1] < 0:
        raise InputError(
            f"{source} has {float(own[lowest - 1]):.4g} at t={lowest}, and E||eps_hat||^2 / d is never below 0: it is "
            "no table of norms (ms_eps); give one that is"
        )
    if not low <= float(own[-1]) <= high:
        raise InputError(
            f"{source} ends with {float(own[-1]):.4g}, and E||eps_hat||^2 / d of a trained mean is near 1 at t={T}: it "
            "is no table of norms (ms_eps); give one that is"
        )
    return VarianceTable.of_norms(own)


@torch.inference_mode()
def check_norms(table: VarianceTable, model: MeanModel, examples: ExampleSet, source: Path, seed: int = 0) -> float:
    """Compare a table with what the mean does on images, at eight times.

    Returns:
        The largest difference.

    Raises:
        InputError: the norms are those of another mean.
    """
    grid = even(table.T, min(LEVELS, table.T))
    found = estimate(model, examples, [VarianceTable], grid.times, len(examples), seed=seed)[VarianceTable]
    measured = found.eps_hat_moments
    apart = (table.eps_hat_moments.mean() - measured.mean())[list(grid.times)]
    spread = measured.stderr()[list(grid.times)].nan_to_num(0.0)
    if bool((apart.abs() > APART + SURE * spread).any()):
        worst = int(apart.abs().argmax())
        t = grid.times[worst]
        said = table.value(table.eps_hat_moments, t)
        raise InputError(
            f"{source} says E||eps_hat||^2 / d = {said:.4g} at t={t}, and the run's mean has "
            f"{float(measured.mean()[t]):.4g} on these images: it belongs to another mean, or these are not its "
            "images; leave the check out with --no-check"
        )
    return float(apart.abs().max())


def import_norms(
    request: ImportRequest, source: Path, norms: Tensor, run: RunFolder, say: Listener
) -> tuple[Path, tuple[Fact, ...]]:
    """Make norms that were published the variance table of a run's mean.

    Returns:
        Where it is, and what was found.

    Raises:
        UsageError: no images to check it on.
        InputError: no mean, numbers that are no norms, or those of another mean.
        OutputError: a table is there, or the file system refuses.
    """
    path = run.ingredient(VarianceTable)
    module = read_mean(run.require_mean()).program if request.trust else None
    mean = open_mean(Place(run.path, module), Running(request.device))
    refuse_existing(path, request.force, "use --force to replace it")
    table = table_of(norms, mean.model.schedule.T, source)
    data, facts = None, [Fact("norms", f"E||eps_hat||^2 / d at {table.T} times", str(source))]
    if request.check:
        if request.data is None and mean.data is None:
            raise UsageError(
                "norms are checked on real images: say where some are with --data, or leave the check out with "
                "--no-check"
            )
        opened = training_examples(run, mean, say, request.data, request.limit or IMAGES)
        apart = check_norms(table, mean.model, opened.examples[:IMAGES], source, request.seed)
        data = opened.provenance
        facts.append(Fact("check", f"at most {apart:.2g} from what the mean has on images", str(data["source"])))
    for fact in facts:
        say.note(f"{fact.name}: {fact.value} ({fact.source})")
    config = {"imported": {"from": str(source.absolute())}, "data": data}
    save_statistic(path, table, mean.spec.reading, mean.digest, config)
    return path, tuple(facts)
