"""Networks and heads that leave the house: where diffcov is not, they draw what ``diffcov sample`` draws.

One process without diffcov loads every exported folder and samples from it; the images are compared with ours here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import diffcov
from conftest import FEW_KNOTS, TINY
from diffcov.covariance import registry
from diffcov.store.bundle import bundled
from diffcov.store.checkpoint import load_mean, save_mean
from diffcov.store.head import load_head, save_head
from oracles.elsewhere import WITHOUT_DIFFCOV
from oracles.foreign import scattered, tiny_pipeline, tiny_unet

ASSETS = Path(__file__).parents[1] / "assets"
TOLERANCE = 1e-5
COUNT = 3
DDPM = "DDPMPipeline"
Done = Callable[..., Any]


@dataclass(frozen=True)
class Case:
    """A folder: of which run, and with what."""

    run: str
    covariance: str
    words: tuple[object, ...] = ()
    steps: int = 6
    labels: tuple[int, ...] | None = None

    @property
    def name(self) -> str:
        """A name for the folder."""
        return "-".join([self.run, self.covariance, *(str(word).strip("-") for word in self.words)])


CASES = [
    Case("own", "small", steps=1),
    Case("own", "corrected"),
    Case("own", "spectral", ("--solver", "ddim", "--eta", 0.5)),
    *(Case("own", name) for name in ("npr", "sn", "ocm", "banded")),
    *(Case("own", name, ("--solver", "ddim", "--eta", 0.5)) for name in ("npr", "banded")),
    Case("own", "npr", ("--no-clip-x0",)),
    Case("thirty", "corrected", steps=30),
    Case("thirty", "sn", steps=7),
    Case("classes", "corrected"),
    Case("classes", "npr", labels=(0, 7, -1)),
    Case("lucid", "small"),
    Case("lucid", "npr"),
    Case("theirs", "corrected"),
    Case("theirs", "npr"),
    Case("inputs", "sn"),
    Case("range", "corrected"),
    Case("learned", "corrected"),
]

PROGRAM = (
    WITHOUT_DIFFCOV
    + """
import json, sys
import numpy as np, torch
from diffusers import DiffusionPipeline
torch.set_num_threads(1)
out = {}
for name, (folder, steps, count, labels) in json.loads(sys.argv[1]).items():
    pipeline = DiffusionPipeline.from_pretrained(folder, trust_remote_code=True, low_cpu_mem_usage=False)
    pipeline.set_progress_bar_config(disable=True)
    told = {} if labels is None else {"class_labels": labels}
    draw = torch.Generator().manual_seed(steps)
    images = pipeline(batch_size=count, num_inference_steps=steps, generator=draw, output_type="pt", **told).images
    out[name + ":" + type(pipeline).__name__] = images.numpy()
np.savez(sys.argv[2], **out)
print(json.dumps(sorted(module for module in sys.modules if module.split(".")[0] == "diffcov")))
"""
)


def _trained(done: Done, run: Path, *words: object) -> None:
    """A mean of ours with weights everywhere: one that has hardly been trained says 0."""
    tiny = (*TINY[:-4], "--batch-size", 8, "--iterations", 1)
    done("train-mean", "--run", run, *tiny, *words)
    found = load_mean(run / "mean.safetensors")
    save_mean(run / "mean.safetensors", scattered(found.model.network, 0.2), found.spec, found.training)


def _measured(done: Done, run: Path, *kinds: str) -> None:
    """Statistics, and heads with weights everywhere, that say something of their own of every pixel."""
    done("estimate-var", "--run", run, "--samples", 1, *FEW_KNOTS)
    mean = load_mean(run / "mean.safetensors")
    for kind in kinds:
        done("fit-var-head", "--run", run, "--kind", kind, "--iterations", 1, "--batch-size", 8)
        path = run / f"head-{kind}.safetensors"
        file = load_head(path)
        save_head(path, scattered(file.head), file.spec, mean.spec.reading, file.trunk, file.training)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, done: Done) -> dict[str, Path]:
    """Runs of every kind of network that can leave. Read only."""
    home = tmp_path_factory.mktemp("runs")
    found = {case.run: home / case.run for case in CASES}

    def brought(name: str, source: Path, *words: object) -> None:
        done("import", source, "--data", "digits", "--no-check", "--run", found[name], *words)

    _trained(done, found["own"], "--timesteps", 50)
    _trained(done, found["thirty"], "--timesteps", 30, "--predict", "v")
    _trained(done, found["classes"], "--timesteps", 50, "--classes", "--label-dropout", 0.2)
    brought("lucid", ASSETS / "lucidrains-model-3.pt", "--size", "8,8")
    tiny_pipeline().save_pretrained(home / "pipeline")
    brought("theirs", home / "pipeline")
    brought("range", home / "pipeline", "--range", "0,1")
    mean = load_mean(found["theirs"] / "mean.safetensors")
    bare = replace(mean.spec, features=None)
    save_mean(found["inputs"] / "mean.safetensors", mean.model.network, bare, mean.training)
    published = load_file(ASSETS / "run-of-before" / "mean.safetensors")
    for name in ("out.2.weight", "out.2.bias"):
        published[name] = torch.cat([published[name], torch.full_like(published[name], 0.3)])
    torch.save(published, home / "learned.pt")
    brought("learned", home / "learned.pt", "--schedule", "linear", "--timesteps", 50)
    for name, run in found.items():
        heads = {case.covariance for case in CASES if case.run == name} & set(registry.heads())
        _measured(done, run, *sorted(heads))
    return found


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, runs: dict[str, Path], done: Done) -> dict[str, Path]:
    """Every case exported."""
    home = tmp_path_factory.mktemp("exported")
    for case in CASES:
        words = ("export", "--run", runs[case.run], "--covariance", case.covariance, *case.words)
        assert done(*words, "--out", home / case.name)["pipeline"] is True
    return {case.name: home / case.name for case in CASES}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory, folders: dict[str, Path]) -> Iterator[Any]:
    """What a process without diffcov draws from each, by name and class of the pipeline."""
    home = tmp_path_factory.mktemp("drawn")
    asked = {case.name: (str(folders[case.name]), case.steps, COUNT, case.labels) for case in CASES}
    environment = {"PATH": "/usr/bin", "HF_HOME": str(home / "cache"), "HF_HUB_OFFLINE": "1"}
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, json.dumps(asked), home / "drawn.npz"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert json.loads(ran.stdout) == []
    with np.load(home / "drawn.npz") as images:
        yield dict(images)


def ours(run: Path, case: Case) -> Tensor:
    """x_0 of ``diffcov sample`` with the noise that the generator of the other process gives."""
    draw = torch.Generator().manual_seed(case.steps)
    noise = [torch.randn(COUNT, 1, 8, 8, generator=draw) for _ in range(case.steps)]
    words = list(case.words)
    options: dict[str, Any] = {"clip_x0": "--no-clip-x0" not in words}
    if "--solver" in words:
        options |= {"solver": words[words.index("--solver") + 1], "eta": words[words.index("--eta") + 1]}
    sampler = diffcov.Run(run).sampler(covariance=case.covariance, steps=case.steps, **options)
    labels = None if case.labels is None else torch.tensor(case.labels)
    return diffcov.sample(replace(sampler, classes=None), diffcov.GivenNoise(noise), labels)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_draws_what_diffcov_draws(runs: dict[str, Path], drawn: dict[str, Any], case: Case) -> None:
    plain = case.name == "theirs-corrected"
    found = drawn[f"{case.name}:{DDPM if plain else 'DiffcovPipeline'}"]
    expected = ours(runs[case.run], case)
    if plain:  # it brings images to [0, 1] itself
        expected = (expected / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=0, atol=TOLERANCE)
    assert float(expected.std()) > 0.05


def test_the_files_of_a_folder(folders: dict[str, Path]) -> None:
    """A head has its own weights; diffusers' own network with a table needs nothing but the scheduler."""

    def names(case: str) -> set[str]:
        folder = folders[case]
        return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}

    weights = "diffusion_pytorch_model.safetensors"
    plain = {
        "model_index.json", "scheduler/scheduler_config.json", "scheduler/diffcov_scheduler.py", "tables.npz",
        "tables.json", "unet/config.json", "unet/diffcov_unet.py", f"unet/{weights}", "diffcov_pipeline.py",
    }  # fmt: skip
    assert names("own-corrected") == plain
    assert names("own-npr") == plain | {"head/config.json", "head/diffcov_head.py", f"head/{weights}"}
    assert names("theirs-corrected") == plain - {"diffcov_pipeline.py", "unet/diffcov_unet.py"}
    index = json.loads((folders["theirs-npr"] / "model_index.json").read_text())
    assert index["_class_name"] == ["diffcov_pipeline", "DiffcovPipeline"]
    assert index["unet"] == ["diffusers", "UNet2DModel"]


@pytest.mark.parametrize("name", ["scheduler", "unet", "head", "pipeline"])
def test_a_bundle_is_made_of_our_own_files(name: str) -> None:
    """One truth: every class stands in it as it stands here, and it names diffcov in no import."""
    text = bundled(f"diffcov.exported.diffcov_{name}")
    assert "import diffcov" not in text
    assert "from diffcov" not in text
    own = (Path(diffcov.__file__).parent / "exported" / f"diffcov_{name}.py").read_text()
    assert own[own.index("\nclass ") :].strip() in text


def test_a_bundle_refuses_what_one_file_cannot_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a package that was made up: two of one name, and imports that no file can replace."""
    package = tmp_path / "diffcov"
    package.mkdir()
    written = {
        "one": '"""One."""\ndef same() -> None:\n    """It."""\n',
        "two": '"""Two."""\nfrom diffcov.one import same\n\n\ndef same() -> None:\n    """It."""\n',
        "hidden": '"""Hidden."""\ndef f() -> None:\n    """It."""\n    from diffcov.one import same\n',
        "renamed": '"""Renamed."""\nfrom diffcov.one import same as other\n',
        "whole": '"""Whole."""\nimport diffcov.one\n',
        "shadows": '"""Shadows."""\nfrom math import same\nfrom diffcov.one import same\n',
    }
    for name, text in written.items():
        (package / f"{name}.py").write_text(text)
    monkeypatch.setattr("diffcov.store.bundle.files", lambda name: package)
    for name, message in (
        ("two", "same stands in diffcov.one and in diffcov.two: one file cannot hold both"),
        ("hidden", "imports from diffcov inside of a function"),
        ("renamed", "renames what it imports from diffcov"),
        ("whole", "imports a whole module of diffcov"),
        ("shadows", "same stands in diffcov.one and is imported beside it: one file cannot hold both"),
    ):
        with pytest.raises(ValueError, match=message):
            bundled(f"diffcov.{name}")


def test_a_bundle_leaves_out_what_type_checkers_alone_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where that would be refused: no program runs it."""
    package = tmp_path / "diffcov"
    package.mkdir()
    text = '''"""Typed."""
from __future__ import annotations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffcov.nowhere import Thing

def f(thing: Thing) -> Thing:
    """It."""
    return thing
'''
    (package / "typed.py").write_text(text)
    monkeypatch.setattr("diffcov.store.bundle.files", lambda name: package)
    found = bundled("diffcov.typed")
    assert "nowhere" not in found
    space: dict[str, Any] = {}
    exec(found, space)
    assert space["f"](3) == 3


def test_diffusers_own_pipeline_samples_with_our_network(folders: dict[str, Path]) -> None:
    from diffusers import DDPMPipeline

    own = loaded(folders["own-npr"])
    scheduler = type(own.scheduler).from_pretrained(folders["own-corrected"], subfolder="scheduler")
    pipeline = DDPMPipeline(own.unet, scheduler)
    pipeline.set_progress_bar_config(disable=True)
    draw = torch.Generator().manual_seed(0)
    assert pipeline(batch_size=2, num_inference_steps=3, generator=draw, output_type="np").images.shape == (2, 8, 8, 1)


def test_a_head_is_needed_at_every_step(folders: dict[str, Path]) -> None:
    from diffcov.exported.diffcov_scheduler import DiffcovScheduler

    scheduler = DiffcovScheduler.from_pretrained(folders["own-npr"], subfolder="scheduler")
    x = torch.zeros(1, 1, 8, 8)
    with pytest.raises(ValueError, match="the npr covariance needs its head at every step: sample with the folder's"):
        scheduler.step(x, scheduler.timesteps[0], x)


def loaded(folder: Path) -> Any:
    """The pipeline of a folder, put together here."""
    from diffcov.exported.diffcov_head import DiffcovHead
    from diffcov.exported.diffcov_pipeline import DiffcovPipeline
    from diffcov.exported.diffcov_scheduler import DiffcovScheduler
    from diffcov.exported.diffcov_unet import DiffcovUNet

    unet = DiffcovUNet.from_pretrained(folder / "unet", low_cpu_mem_usage=False)
    head = DiffcovHead.from_pretrained(folder / "head", low_cpu_mem_usage=False)
    told = json.loads((folder / "model_index.json").read_text())
    more = {name: told[name] for name in ("features", "classes", "needs_labels")}
    pipeline = DiffcovPipeline(unet, DiffcovScheduler.from_pretrained(folder / "scheduler"), head, **more)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_times_and_forms_of_images_can_be_chosen(folders: dict[str, Path]) -> None:
    pipeline = loaded(folders["own-npr"])

    def images(**options: Any) -> Any:
        return pipeline(batch_size=2, generator=torch.Generator().manual_seed(0), **options).images

    raw = images(num_inference_steps=3, output_type="pt")
    assert torch.equal(raw, images(timesteps=[1, 26, 50], output_type="pt"))  # the even grid: round(25.5) is 26
    shown = images(num_inference_steps=3, output_type="np")
    assert np.allclose(shown, (raw / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy(), atol=1e-6)
    pictures = images(num_inference_steps=3)
    assert [(one.mode, one.size) for one in pictures] == [("L", (8, 8))] * 2


def test_classes_are_checked(folders: dict[str, Path]) -> None:
    pipeline = loaded(folders["classes-npr"])
    with pytest.raises(ValueError, match=r"class_labels are 0\.\.9, found \[10, 10\]"):
        pipeline(batch_size=2, class_labels=10)
    pipeline.register_to_config(needs_labels=True)
    with pytest.raises(ValueError, match=r"has never seen an image without a class: say which of 0\.\.9"):
        pipeline(batch_size=2)
    with pytest.raises(ValueError, match="knows no classes: leave class_labels out"):
        loaded(folders["own-npr"])(class_labels=1)


def test_a_head_stays_with_a_network_that_stays(tmp_path: Path, done: Done, refused: Callable[..., str]) -> None:
    """A TorchScript program is not written into a pipeline, and a head reads nothing without it."""
    import warnings

    run = tmp_path / "run"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(_Sample(tiny_unet()), (torch.randn(2, 1, 8, 8), torch.tensor([3.0, 40.0])))
        torch.jit.save(traced, tmp_path / "program.pt")
    found = done("import", tmp_path / "program.pt", "--data", "digits", "--no-check", "--trust", "--run", run)
    module = ("--run", run, "--module", found["program"])
    done("estimate-var", "--samples", 1, *FEW_KNOTS, *module)
    done("fit-var-head", "--kind", "npr", "--iterations", 1, "--batch-size", 8, *module)
    message = refused(3, "export", "--out", tmp_path / "out", "--covariance", "npr", *module)
    assert "npr needs its head at every step, which reads features of a network that is a program" in message
    assert done("export", "--out", tmp_path / "out", "--covariance", "spectral", *module)["pipeline"] is False
    assert not (tmp_path / "out" / "model_index.json").exists()


class _Sample(torch.nn.Module):
    """A network of diffusers that gives its tensor alone."""

    def __init__(self, unet: Any) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        out: Tensor = self.unet(x, times, return_dict=False)[0]
        return out
