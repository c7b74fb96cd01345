"""``diffcov import`` of what Extended-Analytic-DPM and OCM-DPM publish: a mean with its head, and tables of norms."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from conftest import FEW_KNOTS, Cli
from diffcov.covariance.registry import heads
from diffcov.store.foreign.extended import PUBLISHED
from diffcov.store.run import RunFolder
from diffcov.study.options import leaves, told_of
from diffcov.study.requests.bring import ReadingChoice

Json = dict[str, Any]
Done = Callable[..., Json]
BEFORE = Path(__file__).parents[1] / "assets" / "run-of-before"
"""A run of ours (T = 50): its trunk has the names of improved-diffusion."""
READ = ("--schedule", "linear", "--timesteps", 50, "--time-offset", 1, "--time-scale", 20, "--data", "digits")
ITERATIONS = 150


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, done: Done) -> dict[str, Path]:
    """Heads that were fitted as theirs are, by squared error, each written with the trunk under their names."""
    folder = tmp_path_factory.mktemp("published")
    run = shutil.copytree(BEFORE, folder / "run")
    kinds = [word for kind in PUBLISHED for word in ("--kind", kind)]
    done("fit-var-head", "--run", run, *kinds, "--loss", "squared", "--head", "simple", "--force",
         "--iterations", ITERATIONS, "--batch-size", 32, "--lr", 0.01)  # fmt: skip
    found = {}
    for kind in PUBLISHED:
        own = load_file(run / f"head-{kind}.safetensors")
        moved = {name.replace("network.out.", "out2."): tensor for name, tensor in own.items() if name != "start"}
        if kind == "ocm":
            assert own["start"].eq(1).all(), "theirs says Var[eps | x_t] - 1"
        found[kind] = folder / f"{kind}.pth"
        torch.save({**load_file(run / "mean.safetensors"), **moved}, found[kind])
    return found


def facts(found: Json) -> dict[str, tuple[str, str]]:
    return {fact["name"]: (fact["value"], fact["source"]) for fact in found["facts"]}


@pytest.mark.parametrize("kind", PUBLISHED)
def test_images_say_of_which_kind_a_head_is(
    published: dict[str, Path], tmp_path: Path, done: Done, refused: Callable[..., str], kind: str
) -> None:
    unnamed = shutil.copy(published[kind], tmp_path / "model.pth")
    run = tmp_path / "run"
    found = done("import", unnamed, "--run", run, *READ)
    assert facts(found)["variance head"] == (f"{kind}, simple", "tried on images")
    assert found["head"] == str(run / f"head-{kind}.safetensors")
    named = done("import", published[kind], "--run", tmp_path / "named", *READ)
    assert facts(named)["variance head"] == (f"{kind}, simple", f"{kind}.pth")
    for other in set(PUBLISHED) - {kind}:
        message = refused(3, "import", unnamed, "--run", tmp_path / other, *READ, "--head", other)
        assert f"is of kind {other} as --head says, and on these images it is nearer to {kind}" in message
        assert message.endswith(f"say --head {kind}, or leave the check out with --no-check")
    untried = done("import", unnamed, "--run", tmp_path / "untried", *READ, "--no-check", "--head", kind)
    assert facts(untried)["variance head"] == (f"{kind}, simple", "--head")
    message = refused(3, "import", unnamed, "--run", tmp_path / "silent", *READ, "--no-check")
    assert "nothing says of which kind" in message


def test_an_imported_head_is_one_of_the_runs(
    published: dict[str, Path], tmp_path: Path, done: Done, cli: Cli, refused: Callable[..., str]
) -> None:
    run = tmp_path / "run"
    done("import", published["npr"], "--run", run, *READ)
    assert done("inspect", run)["problems"] == []
    assert "imported" in cli("inspect", run, "--all").stdout
    drawn = done("sample", "--run", run, "--steps", 3, "--count", 2)
    assert drawn["covariance"] == "npr", "auto takes it"
    bound = done("evaluate", "--run", run, "--covariance", "npr,small", "--steps", 5, "--images", 8)["nll"]
    assert bound["npr"]["bits_per_dim"] < bound["small"]["bits_per_dim"]
    message = refused(1, "import", published["npr"], "--run", run, *READ)
    assert "--force" in message
    done("import", published["npr"], "--run", run, *READ, "--force")
    (run / "mean.safetensors").unlink()
    message = refused(1, "import", published["npr"], "--run", run, *READ)
    assert "head-npr.safetensors" in message


@pytest.fixture(scope="module")
def norms(tmp_path_factory: pytest.TempPathFactory, done: Done) -> np.ndarray:
    """E||eps_hat||^2 / d at t = 0..T of that trunk, over many images, as they keep it: float32, 0 first."""
    run = shutil.copytree(BEFORE, tmp_path_factory.mktemp("measured") / "run")
    done("estimate-var", "--run", run, "--force", "--samples", 300, "--knot-samples", 0)
    table = load_file(run / "variance.safetensors")
    found: np.ndarray = (table["eps_hat_sq"] / table["count"].clamp(min=1)).numpy().astype(np.float32)
    found[0] = 0
    return found


@pytest.fixture
def imported(published: dict[str, Path], tmp_path: Path, done: Done) -> Path:
    done("import", published["npr"], "--run", tmp_path / "run", *READ)
    return tmp_path / "run"


def test_norms_make_a_table_for_analytic_alone(
    imported: Path, norms: np.ndarray, tmp_path: Path, done: Done, cli: Cli, refused: Callable[..., str]
) -> None:
    torch.save(norms, tmp_path / "ms_eps.pth")
    found = done("import", tmp_path / "ms_eps.pth", "--run", imported)
    assert (found["norms"], found["family"]) == (str(imported / "variance.safetensors"), "ms_eps")
    assert "from what the mean has on images" in facts(found)["check"][0]
    kept = load_file(imported / "variance.safetensors")
    assert np.array_equal(kept["eps_hat_sq"][1:].numpy(), norms[1:].astype(np.float64))
    assert "error_sq" not in kept
    assert done("sample", "--run", imported, "--steps", 3, "--count", 1, "--covariance", "analytic")
    assert "knows E||eps_hat||^2 alone" in refused(3, "sample", "--run", imported, "--covariance", "corrected")
    assert "analytic can use it, nothing else" in json.dumps(done("inspect", imported))
    assert "--force" in refused(1, "import", tmp_path / "ms_eps.pth", "--run", imported)
    message = refused(3, "estimate-var", "--run", imported, "--add")
    assert "holds no sums over images, so nothing can be added to it" in message
    assert set(done("estimate-var", "--run", imported, *FEW_KNOTS)) == {"spectrum", "matrices", "image-gaussian"}
    done("estimate-var", "--run", imported, "--samples", 2, *FEW_KNOTS, "--force")
    assert done("sample", "--run", imported, "--steps", 3, "--count", 1, "--covariance", "corrected")


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (lambda n: n[:-1], 3, "holds 50 numbers, and a table of norms for this mean has one for each t = 0..50"),
        (lambda n: n * np.float32("nan"), 4, "holds NaN or infinity"),
        (lambda n: n / 1000, 3, "of a trained mean is near 1 at t=50: it is no table of norms (ms_eps)"),
        (
            lambda n: np.where(np.arange(len(n)) == 7, -0.25, n),
            3,
            "has -0.25 at t=7, and E||eps_hat||^2 / d is never below 0",
        ),
        (lambda n: np.sqrt(n), 3, "it belongs to another mean, or these are not its images"),
    ],
    ids=["cut", "nan", "variances", "below 0", "of another mean"],
)
def test_numbers_that_are_no_norms_of_this_mean(
    imported: Path, norms: np.ndarray, tmp_path: Path, refused: Callable[..., str], done: Done, change: Any, code: int,
    words: str,
) -> None:  # fmt: skip
    torch.save(change(norms), tmp_path / "ms_eps.pth")
    assert words in refused(code, "import", tmp_path / "ms_eps.pth", "--run", imported)


def test_norms_need_a_mean_and_images(
    published: dict[str, Path], norms: np.ndarray, tmp_path: Path, refused: Callable[..., str], done: Done
) -> None:
    torch.save(torch.from_numpy(norms), tmp_path / "ms_eps.pth")
    assert "holds no mean model" in refused(3, "import", tmp_path / "ms_eps.pth", "--run", tmp_path / "run")
    without = ("--schedule", "linear", "--timesteps", 50, "--time-offset", 1, "--time-scale", 20, "--size", "8,8")
    done("import", published["sn"], "--run", tmp_path / "run", *without, "--no-check")
    message = refused(2, "import", tmp_path / "ms_eps.pth", "--run", tmp_path / "run")
    assert message.startswith("norms are checked on real images")
    done("import", tmp_path / "ms_eps.pth", "--run", tmp_path / "run", "--no-check")
    message = refused(3, "estimate-var", "--run", tmp_path / "run")
    assert "give images of their kind with --data" in message, "published norms do not say of which images"


def test_what_help_offers_is_what_is_published() -> None:
    (option,) = (told_of(one) for one, _ in leaves(ReadingChoice) if one.name == "head")
    assert option.words is not None
    assert list(option.words()) == list(PUBLISHED) == [name for name in heads() if name in PUBLISHED]
    assert RunFolder(Path("x")).head("npr").name == "head-npr.safetensors"
