"""The scheduler that leaves the house: it steps as ``diffcov sample`` does, alone and in a pipeline of diffusers."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import diffcov
from conftest import FEW_KNOTS
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


@pytest.mark.parametrize("covariance", ["small", "analytic", "corrected", "spectral"])
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
    for K in (1, 2, 7, 50):
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


def test_it_runs_where_diffcov_is_not(foreign: Path, tmp_path: Path, done: Callable[..., Any]) -> None:
    """The folder's own file is all that a stranger needs."""
    folder = exported(done, foreign, tmp_path / "out", "corrected", "ddpm", None)
    program = """
import sys
class Nobody:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "diffcov":
            raise ImportError("diffcov is not here")
sys.meta_path.insert(0, Nobody())
import torch
from diffusers import DiffusionPipeline
pipeline = DiffusionPipeline.from_pretrained(sys.argv[1], trust_remote_code=True, low_cpu_mem_usage=False)
pipeline.set_progress_bar_config(disable=True)
draw = torch.Generator().manual_seed(0)
images = pipeline(batch_size=2, num_inference_steps=4, generator=draw, output_type="np").images
print(type(pipeline).__name__, type(pipeline.scheduler).__name__, images.shape)
"""
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
    assert "full is no table of numbers by time, and has no head; export one that is or has: corrected" in message


@pytest.mark.parametrize("solver", ["dpmpp", "unipc", "ipndm", "deis", "er-sde", "addim"])
def test_a_solver_that_the_scheduler_does_not_know_is_refused(
    foreign: Path, tmp_path: Path, refused: Callable[..., str], solver: str
) -> None:
    """Their first step is DDIM's: it is the later ones that tell."""
    message = refused(3, "export", "--run", foreign, "--out", tmp_path / "out", "--solver", solver)
    assert message.startswith(f"{solver} is no solver of one look and one eta")
    assert "export with ddpm or ddim" in message


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
    assert "covariance: spectral (the first in the order of preference that can be exported)" in result.stderr
    bare = shutil.copytree(foreign, tmp_path / "bare")
    for path in bare.glob("*.safetensors"):
        if path.name != "mean.safetensors":
            path.unlink()
    assert done("export", "--run", bare, "--out", tmp_path / "small")["covariance"] == "small"
    said = cli("export", "--run", bare, "--out", tmp_path / "small", "--force").stderr
    assert "the run holds no variance table; make one with diffcov estimate-var" in said


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
