"""Every solver, grid, scale and recipe leaves the house: where diffcov is not, it draws what ``diffcov sample`` draws.

One process without diffcov makes every scheduler of its folder and steps with it; images are compared with ours here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import diffcov
from conftest import FEW_KNOTS
from diffcov.diffusion.grids import GRIDS
from diffcov.engines.recipe import LITERATURE, Recipe
from diffcov.engines.sampler import Sampler
from diffcov.solver.registry import SOLVERS, load
from diffcov.solver.through import THROUGH
from diffcov.store.recipes import RecipeFile, save_recipe
from diffcov.store.run import RunFolder
from diffcov.study.samplers import Samplers
from oracles.elsewhere import WITHOUT_DIFFCOV
from oracles.foreign import tiny_pipeline

TOLERANCE = 1e-5
T, K, COUNT = 100, 6, 2
ETAS = (1.0, 0.7, 0.0, 0.3, 1.0, 0.0)
TIMES = (1, 7, 20, 48, 90, 100)
TUNED = Recipe(
    "dpmpp", "spectral", "logsnr", eta=0.5, order=3, weight=0.75, through="eps_hat", share=0.25, eps_scale=1.02
)
TUNED_TIMES = Recipe("unipc", "corrected", TIMES, eta=ETAS, order=2, weight=0.5, eps_scale=0.98, clip_x0=False)
STARTED = Recipe("deis", grid="quad", order=3, start=60, eps_scale=0.99)
STARTED_TIMES = Recipe("unipc", "npr", (1, 4, 9, 20, 35, 50), order=2, start=50)
RECIPES = {
    "tuned.json": TUNED,
    "tuned-times.json": TUNED_TIMES,
    "started.json": STARTED,
    "started-times.json": STARTED_TIMES,
}
Done = Callable[..., Any]


@dataclass(frozen=True)
class Case:
    """A sampler: options of ``sample`` and ``export``, or a recipe."""

    options: dict[str, Any] = field(default_factory=dict)
    recipe: str | None = None
    told: bool = True
    """Whether the other process says how many steps it wants."""

    @property
    def name(self) -> str:
        """A name for the folder."""
        return self.recipe or "-".join(f"{key}={value}" for key, value in self.options.items())

    @property
    def words(self) -> list[str]:
        """How the command line is asked."""
        if self.recipe is not None:
            steps = [] if self.recipe in RECIPES else ["--steps", str(K)]
            return ["--recipe", self.recipe, *steps]
        given = {
            key: ",".join(map(str, one)) if isinstance(one, tuple) else str(one) for key, one in self.options.items()
        }
        clip = ["--no-clip-x0"] if given.pop("clip_x0", "True") == "False" else []
        return [*clip, *(word for key, one in given.items() for word in (f"--{key.replace('_', '-')}", one))]


def orders(name: str) -> tuple[int, ...]:
    return getattr(load(name), "orders", ())


def tells(name: str, option: str) -> bool:
    return option in load(name)._options()


def cases() -> list[Case]:
    found: list[dict[str, Any]] = []
    for name in SOLVERS:
        found += [{"solver": name, "order": order} for order in orders(name)] or [{"solver": name}]
        if tells(name, "through"):
            own = load(name)().as_dict()["through"]
            found += [{"solver": name, "through": way} for way in THROUGH if way != own]
        if tells(name, "eta"):
            found += [{"solver": name, "eta": eta} for eta in (0.5, ETAS)]
        found.append({"solver": name, "covariance": "spectral", "share": 0.4, "eps_scale": 1.03})
    found += [{"solver": "dpmpp", "order": 3, "grid": name} for name in GRIDS]
    found += [{"solver": "ipndm", "grid": TIMES}, {"solver": "addim", "eps_scale": 0.97, "clip_x0": False}]
    found += [{"solver": "unipc", "covariance": "npr", "share": 0.5}, {"solver": "er-sde", "covariance": "banded"}]
    found += [{"solver": "spectral-ei", "covariance": "npr"}, {"solver": "ddpm", "covariance": "large"}]
    found += [{"solver": "dpmpp", "weight": 0.6, "covariance": "analytic"}]
    found += [{"solver": "dcw", "low_band": 0.2, "high_band": 0.05}]
    found += [{"solver": "ddpm", "covariance": "spectral", "start": 40}]
    found += [{"solver": "deis", "grid": (1, 5, 9, 20, 30, 42), "start": 42}]
    plain = [Case({"covariance": "small", **one}, told=not isinstance(one.get("eta"), tuple)) for one in found]
    return [*plain, *(Case(recipe=name, told=False) for name in ("sde-dpmpp-2m", "npr-ddim", "spectral-ei", *RECIPES))]


CASES = cases()

PROGRAM = (
    WITHOUT_DIFFCOV
    + """
import importlib.util, json, sys, warnings
import numpy as np, torch
from diffusers import DiffusionPipeline, UNet2DModel
torch.set_num_threads(1)
asked = json.loads(sys.argv[1])

def program(folder, name):
    spec = importlib.util.spec_from_file_location(name, folder + "/" + name + ".py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module

home = asked["home"]
unet = UNet2DModel.from_pretrained(home + "/0/unet", low_cpu_mem_usage=False).eval()
Scheduler = program(home + "/0/scheduler", "diffcov_scheduler").DiffcovScheduler
out = {}
for number, (steps, count) in enumerate(asked["cases"]):
    scheduler = Scheduler.from_pretrained(home + f"/{number}/scheduler")
    scheduler.set_timesteps(steps)
    draw = torch.Generator().manual_seed(number)
    if scheduler.config.head:
        words = dict(trust_remote_code=True, low_cpu_mem_usage=False)
        pipeline = DiffusionPipeline.from_pretrained(home + f"/{number}", **words)
        pipeline.set_progress_bar_config(disable=True)
        told = dict(batch_size=count, num_inference_steps=steps, generator=draw, output_type="pt")
        out[str(number)] = pipeline(**told).images.numpy()
        continue
    x = scheduler.begin(torch.randn(count, 1, 8, 8, generator=draw))
    with torch.inference_mode():
        for t in scheduler.timesteps:
            x = scheduler.step(unet(x, t).sample, t, x, generator=draw).prev_sample
    out[str(number)] = x.numpy()
np.savez(sys.argv[2], **out)
print(json.dumps(sorted(module for module in sys.modules if module.split(".")[0] == "diffcov")))
"""
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, done: Done) -> Path:
    """A run of a pipeline of diffusers, with statistics, two heads and recipes. Read only."""
    folder = tmp_path_factory.mktemp("samplers")
    tiny_pipeline(num_train_timesteps=T, beta_end=0.2).save_pretrained(folder / "theirs")
    found = folder / "run"
    done("import", folder / "theirs", "--data", "digits", "--no-check", "--run", found)
    done("estimate-var", "--run", found, "--samples", 2, *FEW_KNOTS)
    heads = ("--kind", "npr", "--kind", "banded")
    done("fit-var-head", "--run", found, *heads, "--iterations", 1, "--batch-size", 8)
    mean = diffcov.Run(found).checkpoint
    for name, recipe in RECIPES.items():
        save_recipe(found / name, RecipeFile(recipe, K, mean.digest, {}, 1.0, {}))
    return found


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory, run: Path, done: Done) -> dict[str, Any]:
    """What a process without diffcov draws with each, by number."""
    home = tmp_path_factory.mktemp("exported")
    for number, case in enumerate(CASES):
        words = [str(run / word) if word in RECIPES else word for word in case.words]
        assert done("export", "--run", run, "--out", home / str(number), *words)["pipeline"] is True
    programs = {(home / str(number) / "scheduler" / "diffcov_scheduler.py").read_text() for number in range(len(CASES))}
    assert len(programs) == 1, "the program is the same whatever the sampler"
    asked = {"home": str(home), "cases": [(K if case.told else None, COUNT) for case in CASES]}
    environment = {"PATH": "/usr/bin", "HF_HOME": str(home / "cache"), "HF_HUB_OFFLINE": "1"}
    words = [sys.executable, "-W", "ignore", "-c", PROGRAM, json.dumps(asked), str(home / "drawn.npz")]
    ran = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert json.loads(ran.stdout) == []
    with np.load(home / "drawn.npz") as images:
        return dict(images)


def ours(run: Path, case: Case) -> Sampler:
    """The sampler of ``diffcov sample``."""
    if case.recipe is None:
        listed = isinstance(case.options.get("grid"), tuple)
        given = {key: ",".join(map(str, one)) if isinstance(one, tuple) else one for key, one in case.options.items()}
        return diffcov.Run(run).sampler(**given, steps=None if listed else K)
    recipe = RECIPES.get(case.recipe) or LITERATURE[case.recipe]
    return Samplers(RunFolder(run), diffcov.Run(run).checkpoint).sampler(recipe, K)


@pytest.mark.parametrize("number", range(len(CASES)), ids=[case.name for case in CASES])
def test_it_draws_what_diffcov_draws(run: Path, drawn: dict[str, Any], number: int) -> None:
    draw = torch.Generator().manual_seed(number)
    noise = [torch.randn(COUNT, 1, 8, 8, generator=draw) for _ in range(K)]
    expected = diffcov.sample(ours(run, CASES[number]), diffcov.GivenNoise(noise))
    torch.testing.assert_close(torch.from_numpy(drawn[str(number)]), expected, rtol=0, atol=TOLERANCE)
    assert float(expected.std()) > 0.05


@pytest.fixture(scope="module")
def to_zero(tmp_path_factory: pytest.TempPathFactory, done: Done) -> Path:
    """A run whose schedule ends at alpha_bar 0, where eps_hat says nothing of x_0. Read only."""
    folder = tmp_path_factory.mktemp("zero")
    ends = {"num_train_timesteps": T, "prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    tiny_pipeline(**ends).save_pretrained(folder / "theirs")
    done("import", folder / "theirs", "--data", "digits", "--no-check", "--run", folder / "run")
    diffcov.Run(folder / "run").estimate(samples=1, knots=4, knot_samples=4)
    return folder / "run"


@pytest.mark.parametrize("solver", SOLVERS)
def test_it_starts_where_no_signal_is_left(to_zero: Path, tmp_path: Path, done: Done, solver: str) -> None:
    from diffcov.exported.diffcov_scheduler import DiffcovScheduler

    words = ("--covariance", "corrected", "--solver", solver, "--eps-scale", 1.02)
    done("export", "--run", to_zero, "--out", tmp_path / "out", *words)
    scheduler = DiffcovScheduler.from_pretrained(tmp_path / "out", subfolder="scheduler")
    scheduler.set_timesteps(K)
    mean, noise = diffcov.Run(to_zero).checkpoint.model, torch.randn(K, COUNT, 1, 8, 8)
    sampler = diffcov.Run(to_zero).sampler(covariance="corrected", solver=solver, eps_scale=1.02, steps=K)
    expected = diffcov.sample(sampler, diffcov.GivenNoise(list(noise)))
    x, later = noise[0], iter(noise[1:])
    with torch.inference_mode():
        for t in scheduler.timesteps:
            output = mean.output(x, scheduler.time_of(t))
            x = scheduler.step(output, t, x, variance_noise=next(later, None)).prev_sample
    torch.testing.assert_close(x, expected, rtol=0, atol=TOLERANCE)
