"""The scheduler that leaves the house: it steps as ``diffcov sample`` does, alone and in a pipeline of diffusers."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import diffcov
from conftest import FEW_KNOTS
from diffcov.covariance import registry as covariances
from diffcov.covariance.spectral import Spectral
from diffcov.denoiser.look import Look
from diffcov.engines.recipe import Recipe
from diffcov.exported.packing import packed
from diffcov.gaussian import Diagonal
from diffcov.gaussian.start import GaussianStart
from diffcov.solver.ddim import DDIM
from diffcov.solver.registry import SOLVERS
from diffcov.statistics.image_gaussian import ImageGaussian
from diffcov.store.recipes import RecipeFile, save_recipe
from diffcov.store.statistics import load_statistic
from oracles.elsewhere import WITHOUT_DIFFCOV
from oracles.foreign import tiny_pipeline

TOLERANCE = 1e-5
CASES = [("ddpm", None), ("ddim", 0.0), ("ddim", 0.5), ("ddim", 1.0)]


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory, done: Callable[..., Any]) -> Path:
    """A run of a pipeline of diffusers, with statistics and a head. Read only."""
    folder = tmp_path_factory.mktemp("foreign")
    tiny_pipeline().save_pretrained(folder / "theirs")
    run = folder / "run"
    done("import", folder / "theirs", "--data", "digits", "--no-check", "--run", run)
    done("estimate-var", "--run", run, "--samples", 2, *FEW_KNOTS)
    done("fit-var-head", "--run", run, "--kind", "npr", "--iterations", 1, "--batch-size", 8)
    return run


def exported(done: Callable[..., Any], run: Path, out: Path, covariance: str, solver: str, eta: float | None) -> Path:
    words = ("export", "--run", run, "--out", out, "--covariance", covariance, "--solver", solver, "--force")
    found = done(*words, *(() if eta is None else ("--eta", eta)))
    assert found == {"out": str(out), "covariance": covariance, "pipeline": True}
    return out


@pytest.mark.parametrize("covariance", ["corrected", "spectral"])
@pytest.mark.parametrize(("solver", "eta"), CASES)
def test_it_draws_what_diffcov_draws(
    foreign: Path, tmp_path: Path, done: Callable[..., Any], covariance: str, solver: str, eta: float | None
) -> None:
    """The same start noise and step noise give the same images, for every number of steps."""
    from diffusers import UNet2DModel

    from diffcov.exported.diffcov_scheduler import DiffcovScheduler

    folder = exported(done, foreign, tmp_path / "out", covariance, solver, eta)
    scheduler = DiffcovScheduler.from_pretrained(folder, subfolder="scheduler")
    unet = UNet2DModel.from_pretrained(folder / "unet", low_cpu_mem_usage=False).eval()
    run = diffcov.Run(foreign)
    for K in (1, 2, 7, 20):
        draw = torch.Generator().manual_seed(K)
        noise = [torch.randn(2, 1, 8, 8, generator=draw) for _ in range(K)]
        options = {"covariance": covariance, "solver": solver, "steps": K, **({} if eta is None else {"eta": eta})}
        ours = diffcov.sample(run.sampler(**options), diffcov.GivenNoise(noise))
        scheduler.set_timesteps(K)
        assert scheduler.timesteps.dtype == torch.int64
        x, later = noise[0], iter(noise[1:])
        with torch.inference_mode():
            for t in scheduler.timesteps:
                x = scheduler.step(unet(x, t).sample, t, x, variance_noise=next(later, None)).prev_sample
        torch.testing.assert_close(x, ours, rtol=0, atol=TOLERANCE)
        assert float(ours.std()) > 0.1


def test_a_pipeline_samples_with_it(foreign: Path, tmp_path: Path, done: Callable[..., Any]) -> None:
    from diffusers import DDPMPipeline, UNet2DModel

    from diffcov.exported.diffcov_scheduler import DiffcovScheduler

    folder = exported(done, foreign, tmp_path / "out", "spectral", "ddpm", None)
    unet = UNet2DModel.from_pretrained(folder / "unet", low_cpu_mem_usage=False)
    pipeline = DDPMPipeline(unet, DiffcovScheduler.from_pretrained(folder / "scheduler"))
    pipeline.set_progress_bar_config(disable=True)
    words: dict[str, Any] = {"batch_size": 3, "num_inference_steps": 5, "output_type": "np"}
    images = pipeline(**words, generator=torch.Generator().manual_seed(0)).images
    assert images.shape == (3, 8, 8, 1)
    again = pipeline(**words, generator=torch.Generator().manual_seed(0)).images
    assert np.array_equal(images, again)
    pipeline.save_pretrained(tmp_path / "again")
    kept = DiffcovScheduler.from_pretrained(tmp_path / "again", subfolder="scheduler")
    assert {k: v for k, v in kept.config.items() if k[0] != "_"} == {
        k: v for k, v in pipeline.scheduler.config.items() if k[0] != "_"
    }


@pytest.mark.slow
def test_it_runs_where_diffcov_is_not(foreign: Path, tmp_path: Path, done: Callable[..., Any]) -> None:
    """The folder's own file is all that a stranger needs."""
    folder = exported(done, foreign, tmp_path / "out", "corrected", "ddpm", None)
    program = (
        WITHOUT_DIFFCOV
        + """
import torch
from diffusers import DiffusionPipeline
pipeline = DiffusionPipeline.from_pretrained(sys.argv[1], trust_remote_code=True, low_cpu_mem_usage=False)
pipeline.set_progress_bar_config(disable=True)
draw = torch.Generator().manual_seed(0)
images = pipeline(batch_size=2, num_inference_steps=4, generator=draw, output_type="np").images
print(type(pipeline).__name__, type(pipeline.scheduler).__name__, images.shape)
"""
    )
    environment = {"PATH": "/usr/bin", "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, folder],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.strip() == "DDPMPipeline DiffcovScheduler (2, 8, 8, 1)"


def test_the_tables_are_plain_files_too(foreign: Path, tmp_path: Path, done: Callable[..., Any]) -> None:
    folder = exported(done, foreign, tmp_path / "out", "corrected", "ddpm", None)
    run = diffcov.Run(foreign)
    table = json.loads((folder / "tables.json").read_text())
    arrays = np.load(folder / "tables.npz")
    assert np.allclose(arrays["log_alpha"], run.mean.schedule.log_alpha, rtol=1e-12)
    assert table["var_x0"] == arrays["var_x0"].tolist()
    covariance = run.covariance("corrected")
    schedule = run.mean.schedule
    for t in (1, 500, 1000):
        x = torch.zeros(1, 1, 8, 8)
        expected = float(covariance.at(run.mean.look(x, t)).var)
        assert table["var_x0"][t] == pytest.approx(expected, rel=1e-12)
    assert table["num_train_timesteps"] == schedule.T


def test_add_noise_is_the_forward_process(foreign: Path, tmp_path: Path, done: Callable[..., Any]) -> None:
    """diffusers' own scheduler of the same schedule says the same."""
    from diffusers import DDPMScheduler

    from diffcov.exported.diffcov_scheduler import DiffcovScheduler

    folder = exported(done, foreign, tmp_path / "out", "small", "ddpm", None)
    mine, theirs = DiffcovScheduler.from_pretrained(folder / "scheduler"), DDPMScheduler(1000)
    x_0, eps, t = torch.randn(4, 1, 8, 8), torch.randn(4, 1, 8, 8), torch.tensor([0, 10, 500, 999])
    torch.testing.assert_close(mine.add_noise(x_0, eps, t), theirs.add_noise(x_0, eps, t), rtol=0, atol=1e-5)
    assert mine.scale_model_input(x_0, 3) is x_0
    assert (mine.init_noise_sigma, mine.order, len(mine)) == (1.0, 1, 1000)


@pytest.mark.parametrize("K", [2, 5, 10, 100])
def test_small_on_its_times_is_diffusers_own_step(
    foreign: Path, tmp_path: Path, done: Callable[..., Any], K: int
) -> None:
    """An independent implementation: DDPMScheduler with fixed_small, told the same times."""
    from diffusers import DDPMScheduler

    from diffcov.exported.diffcov_scheduler import DiffcovScheduler

    folder = exported(done, foreign, tmp_path / "out", "small", "ddpm", None)
    mine = DiffcovScheduler.from_pretrained(folder / "scheduler", last_noise=None)
    theirs = DDPMScheduler(1000, variance_type="fixed_small", clip_sample=True)
    mine.set_timesteps(K)
    theirs.set_timesteps(timesteps=mine.timesteps.tolist())
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    for t in mine.timesteps:
        eps = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(int(t)))
        noise = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(7))
        own = mine.step(eps, t, x, variance_noise=noise).prev_sample
        other = theirs.step(eps, t, x, generator=torch.Generator().manual_seed(7)).prev_sample
        torch.testing.assert_close(own, other, rtol=0, atol=2e-4)
        x = own


def test_matrices_are_refused(foreign: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    message = refused(3, "export", "--run", foreign, "--out", tmp_path / "out", "--covariance", "full")
    assert message.startswith(
        "full says of itself that it is made in none of the ways that an exported scheduler knows (one number a time; "
    )
    assert message.endswith("export another, such as corrected, spectral or npr")


def test_a_walk_that_starts_below_T_does_not_begin_with_noise(
    foreign: Path, tmp_path: Path, done: Callable[..., Any]
) -> None:
    """Whoever steps by hand is told; the folder is one of a pipeline that knows; every walk begins anew."""
    done("export", "--run", foreign, "--out", tmp_path / "out", "--solver", "deis", "--start", 50)
    scheduler, noise = loaded(tmp_path / "out"), torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    scheduler.set_timesteps(3)
    message = (
        "this sampler starts at t=50 from the Gaussian of the images, and not with noise: sample with the folder's "
        "DiffcovPipeline, or begin with x = scheduler.begin(noise)"
    )
    for _ in range(2):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            scheduler.step(noise, scheduler.timesteps[0], noise)
        x = scheduler.begin(noise)
        images = load_statistic(foreign / "image-gaussian.safetensors", ImageGaussian).statistic
        start = GaussianStart(images.basis, images.mean, images.var, {})
        torch.testing.assert_close(x, start.draw(scheduler.schedule, 50, noise))
        for t in scheduler.timesteps:
            x = scheduler.step(noise, t, x).prev_sample
    scheduler.begin(noise)
    scheduler.set_timesteps(4)
    with pytest.raises(ValueError, match=r"^this sampler starts at t=50 from"):
        scheduler.step(noise, scheduler.timesteps[0], noise)
    scheduler.step(noise, scheduler.timesteps[1], noise)
    assert json.loads((tmp_path / "out" / "model_index.json").read_text())["_class_name"][1] == "DiffcovPipeline"


def test_a_start_that_the_run_cannot_make_stays_here(
    foreign: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    shutil.copytree(foreign, tmp_path / "run")
    (tmp_path / "run" / "image-gaussian.safetensors").unlink()
    message = refused(3, "export", "--run", tmp_path / "run", "--out", tmp_path / "out", "--start", 50)
    assert message.startswith("a start below T needs a Gaussian of the images and none was found; run: ")


@dataclass(frozen=True)
class Halting(DDIM):
    """A solver of an extension."""

    name = "halting"


def test_a_solver_of_an_extension_is_refused(
    foreign: Path, tmp_path: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SOLVERS, "halting", f"{__name__}:Halting")
    for covariance in ("auto", "small"):
        words = ("export", "--run", foreign, "--out", tmp_path / "out", "--covariance", covariance)
        message = refused(3, *words, "--solver", "halting")
        assert message.startswith(
            "the solver halting is no part of diffcov, and an exported scheduler takes along those"
        )
        assert "export with one of ddpm, ddim, dpmpp" in message


class Doubled(Spectral):
    """A covariance of an extension that is made of the spectrum in a way of its own."""

    name = "doubled"

    def unbounded(self, look: Look) -> Diagonal:
        found = super().unbounded(look)
        return Diagonal(found.basis, 2 * found.var)


def test_a_covariance_that_is_more_than_the_spectrum_is_refused(
    foreign: Path, tmp_path: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(covariances.COVARIANCES, "doubled", covariances.Entry(f"{__name__}:Doubled"))
    message = refused(3, "export", "--run", foreign, "--out", tmp_path / "out", "--covariance", "doubled")
    assert message.startswith("doubled says of itself that it is made in none of the ways")


REFUSED: list[tuple[int, tuple[object, ...], str]] = [
    (2, ("--grid", "optimal"), "--grid optimal is searched for each number of steps, and an exported scheduler makes"),
    (
        2,
        ("--steps", 5),
        "--steps 5 belongs to a --recipe or to listed times: with --grid even a pipeline says how many",
    ),
    (2, ("--steps", 5, "--grid", "1,500,1000"), "--steps 5 was asked for, but --grid lists 3 times"),
    (2, ("--grid", "1,2000"), "a grid's times must be in 1..T=1000, found 2000"),
    (2, ("--grid", "odd"), "--grid must be one of even, stride,"),
    (2, ("--eta", "1,0.5", "--grid", "1,500,1000"), "--eta lists 2 numbers, one a step, and the grid has 3 steps"),
    (
        2,
        ("--eps-scale", "fitted"),
        "--eps-scale must be a positive number, found 'fitted'; a fitted one is in the manif",
    ),
    (2, ("--eps-scale", "0"), "--eps-scale must be a positive number, found '0'"),
    (2, ("--share", 2), "--share of the covariance to put back must be between 0 and 1, found 2"),
    (2, ("--solver", "ddim", "--order", 2), "ddim has no order, but order 2 was asked for; it takes --eta"),
    (2, ("--recipe", "ddim", "--solver", "ddim"), "a recipe decides --solver, --grid or their numbers: leave that out"),
    (
        2,
        ("--recipe", "ddim", "--covariance", "small"),
        "a recipe decides --covariance: leave that out, or --recipe ddim",
    ),
    (2, ("--recipe", "ddim", "--eps-scale", 1.1), "a recipe decides --eps-scale or --clip-x0: leave that out"),
    (2, ("--recipe", "ddim", "--steps", 2000), "steps must be between 1 and T=1000 (got 2000)"),
    (2, ("--recipe", "nothing"), "--recipe nothing is no recipe and no file; choose one of ddpm-small,"),
    (3, ("--recipe", "ocm-ddim"), "the ocm covariance needs"),
]


@pytest.mark.parametrize(("code", "words", "message"), REFUSED, ids=[" ".join(map(str, row[1])) for row in REFUSED])
def test_what_a_scheduler_cannot_be_told(
    foreign: Path, tmp_path: Path, refused: Callable[..., str], code: int, words: tuple[object, ...], message: str
) -> None:
    covariance = () if "--recipe" in words else ("--covariance", "corrected")
    assert refused(code, "export", "--run", foreign, "--out", tmp_path / "out", *covariance, *words).startswith(message)


def test_a_solver_lacks_its_statistic(
    foreign: Path, tmp_path: Path, refused: Callable[..., str], done: Callable[..., Any]
) -> None:
    bare = shutil.copytree(foreign, tmp_path / "bare")
    (bare / "spectrum.safetensors").unlink()
    message = refused(3, "export", "--run", bare, "--out", tmp_path / "out", "--solver", "spectral-ei")
    assert message.startswith("the solver spectral-ei needs a spectrum")
    assert done("export", "--run", bare, "--out", tmp_path / "out", "--solver", "addim")["covariance"] == "small"


def test_recipes_of_other_means_and_guidance_stay_here(
    foreign: Path, tmp_path: Path, refused: Callable[..., str], done: Callable[..., Any]
) -> None:
    mean = diffcov.Run(foreign).checkpoint.digest
    for name, digest, guidance in (("other", "0" * 64, 1.0), ("guided", mean, 2.0), ("own", mean, 1.0)):
        save_recipe(tmp_path / name, RecipeFile(Recipe("dpmpp"), 7, digest, {}, guidance, {}))
    words = ("export", "--run", foreign, "--out", tmp_path / "out", "--recipe")
    assert "was tuned with another mean" in refused(3, *words, tmp_path / "other")
    message = refused(2, *words, tmp_path / "guided")
    assert "was tuned at guidance 2, and an exported scheduler guides nothing; tune without --guidance" in message
    assert done(*words, tmp_path / "own")["covariance"] == "small"
    scheduler = loaded(tmp_path / "out")
    assert (scheduler.num_inference_steps, scheduler.own_steps) == (7, 7)
    done(*words, tmp_path / "own", "--steps", 4, "--force")
    assert loaded(tmp_path / "out").num_inference_steps == 4


def loaded(folder: Path) -> Any:
    from diffcov.exported.diffcov_scheduler import DiffcovScheduler

    return DiffcovScheduler.from_pretrained(folder, subfolder="scheduler")


def walked(scheduler: Any, x: Tensor, places: Iterable[int]) -> Tensor:
    """x after the steps with these numbers, for a network that says something else at every time."""
    for place in places:
        t = scheduler.timesteps[place]
        x = scheduler.step((x + 0.01 * t).sin(), t, x, variance_noise=torch.zeros_like(x)).prev_sample
    return x


@pytest.mark.parametrize("solver", ["dpmpp", "unipc", "ipndm", "deis", "er-sde", "spectral-ei"])
def test_a_walk_begins_at_the_first_timestep_and_wherever_it_is_entered(
    foreign: Path, tmp_path: Path, done: Callable[..., Any], solver: str
) -> None:
    """What was seen before belongs to other images; entered at the last but one, it ends like any other walk."""
    done("export", "--run", foreign, "--out", tmp_path / "out", "--solver", solver)
    scheduler, x = loaded(tmp_path / "out"), torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    scheduler.set_timesteps(6)
    whole = walked(scheduler, x, range(6))
    assert torch.equal(walked(scheduler, x, range(6)), whole)
    walked(scheduler, x, range(3))
    assert torch.equal(walked(scheduler, x, range(6)), whole), "a walk that was left in its middle is forgotten"
    walked(scheduler, x, range(3))
    scheduler.set_timesteps(6)
    assert torch.equal(walked(scheduler, x, range(6)), whole)
    fresh = loaded(tmp_path / "out")
    fresh.set_timesteps(6)
    for first in (2, 4, 5):
        entered = walked(scheduler, x, range(first, 6))
        assert torch.isfinite(entered).all()
        assert torch.equal(entered, walked(fresh, x, range(first, 6)))
        fresh.set_timesteps(6)
    halves = walked(scheduler, walked(scheduler, x, range(3)), range(3, 6))
    assert torch.equal(halves, whole)
    forgetful = x
    for place in range(6):
        scheduler.set_timesteps(6)
        forgetful = walked(scheduler, forgetful, [place])
    assert not torch.equal(forgetful, whole), "it remembers"


def test_numbers_of_steps_that_cannot_be(foreign: Path, tmp_path: Path, done: Callable[..., Any]) -> None:
    words = ("export", "--run", foreign, "--covariance", "small", "--force", "--out", tmp_path / "out")
    done(*words, "--solver", "dpmpp", "--grid", "logsnr")
    scheduler = loaded(tmp_path / "out")
    with pytest.raises(ValueError, match="this sampler has no number of its own; say num_inference_steps"):
        scheduler.set_timesteps()
    for K in (0, 1001):
        with pytest.raises(ValueError, match=rf"steps must be between 1 and T=1000 \(got {K}\)"):
            scheduler.set_timesteps(K)
    with pytest.raises(ValueError, match=r"a grid's times must be in 1\.\.T=1000, found 0"):
        scheduler.set_timesteps(timesteps=[0, 5])
    scheduler.set_timesteps(timesteps=[900, 5])
    assert scheduler.timesteps.tolist() == [899, 4]
    x = torch.zeros(1, 1, 8, 8)
    with pytest.raises(ValueError, match=r"7 is none of the chosen timesteps \[899, 4\]; call set_timesteps"):
        scheduler.step(x, 7, x)
    for more, K in ((("--grid", "1,500,1000"), 3), (("--eta", "1,0.5,0,0"), 4)):
        done(*words, *more)
        scheduler = loaded(tmp_path / "out")
        assert scheduler.num_inference_steps == K
        scheduler.set_timesteps()
        scheduler.set_timesteps(K)
        with pytest.raises(ValueError, match=f"has {K} steps, each with its own time or noise, and not 5; ask for {K}"):
            scheduler.set_timesteps(5)
    with pytest.raises(ValueError, match="--eta lists 4 numbers, one a step, and the grid has 2 steps"):
        scheduler.set_timesteps(timesteps=[900, 5])


def test_a_scheduler_is_made_by_export() -> None:
    """A configuration of before names its solver in words: its own folder holds the program that reads it."""
    from diffcov.exported.diffcov_scheduler import DiffcovScheduler

    for told in ({}, {"log_alpha": packed([0.0, -0.1]), "solver": "ddpm"}):
        with pytest.raises(ValueError, match="a DiffcovScheduler is made by `diffcov export` of this version"):
            DiffcovScheduler(**told)


def test_without_a_folder(foreign: Path, refused: Callable[..., str]) -> None:
    assert "export to where?" in refused(2, "export", "--run", foreign)


def test_an_existing_folder_is_kept(foreign: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "out").mkdir()
    assert "already exists" in refused(1, "export", "--run", foreign, "--out", tmp_path / "out")


def test_auto_takes_the_first_table_and_says_so(
    foreign: Path, tmp_path: Path, cli: Any, done: Callable[..., Any]
) -> None:
    """Matrices stand before it in the order, and cannot be exported."""
    result = cli("export", "--run", foreign, "--out", tmp_path / "out")
    assert result.exit_code == 0
    assert "without full: full says of itself that it is made in none of the ways" in result.stderr
    assert "covariance: spectral (usually the best of those that can be exported)" in result.stderr
    said = cli("export", "--run", foreign, "--out", tmp_path / "flow", "--solver", "dpmpp").stderr
    assert "covariance: small (dpmpp is published without a covariance; choose another with --covariance)" in said
    bare = shutil.copytree(foreign, tmp_path / "bare")
    for path in bare.glob("*.safetensors"):
        if path.name != "mean.safetensors":
            path.unlink()
    assert done("export", "--run", bare, "--out", tmp_path / "small")["covariance"] == "small"
    said = cli("export", "--run", bare, "--out", tmp_path / "small", "--force").stderr
    assert "the run holds no variance table; make one with diffcov estimate-var" in said


def test_auto_says_why_it_passes_over_a_damaged_table(foreign: Path, tmp_path: Path, cli: Any) -> None:
    """What is exported instead is another covariance, so nobody should have to find that out by looking."""
    run = shutil.copytree(foreign, tmp_path / "run")
    path = run / "spectrum.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    said = cli("export", "--run", run, "--out", tmp_path / "out").stderr
    assert f"without spectral: {path}" in said
    assert "covariance: npr (usually the best of those that can be exported)" in said


def test_force_never_deletes_a_folder_that_is_no_export(
    foreign: Path, tmp_path: Path, refused: Callable[..., str], done: Callable[..., Any]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    words = ("export", "--run", foreign, "--covariance", "small", "--force", "--out")
    assert "is no export of diffcov" in refused(1, *words, tmp_path / "mine")
    (tmp_path / "file").write_text("x")
    assert "is no export of diffcov" in refused(1, *words, tmp_path / "file")
    (tmp_path / "empty").mkdir()
    for _ in range(2):
        assert done(*words, tmp_path / "empty")["pipeline"] is True
