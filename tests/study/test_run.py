"""A run in a script: what the commands do, with the same numbers; and a run of a network that is one's own."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import diffcov
from conftest import ALL_KINDS, TINY, Cli, listing
from diffcov.cli.console import Console
from diffcov.covariance import registry
from diffcov.data import DataDescription
from diffcov.denoiser.mean_model import MeanModel
from diffcov.denoiser.spec import MeanSpec
from diffcov.denoiser.time import TimeConvention
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.digest import digest_of_tensors
from diffcov.errors import InputError, Interrupted, OutputError, UsageError
from diffcov.present.comparison import write_comparison
from diffcov.statistics.registry import load_all
from diffcov.store import artifact
from diffcov.store.checkpoint import load_mean
from diffcov.store.datasets import load_images
from diffcov.store.head import load_head
from diffcov.store.statistics import load_statistic
from diffcov.study.run import Run
from oracles.listening import Recorder
from oracles.offered import OF_ANY_MEAN

Json = dict[str, Any]
Done = Callable[..., Json]
BOUNDED = ("npr", "small")


@pytest.fixture(scope="module")
def shared(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that may also hold reference statistics. No test changes its other files."""
    return shutil.copytree(finished, tmp_path_factory.mktemp("scripted") / "run")


def words(options: Json) -> list[object]:
    """Options of a method as they are typed."""
    typed: list[object] = []
    for name, value in options.items():
        option = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            typed.append(option if value else option.replace("--", "--no-", 1))
        else:
            typed += [option, ",".join(map(str, value)) if isinstance(value, tuple) else value]
    return typed


def kept_pixels(folder: Path) -> Tensor:
    with np.load(folder / "samples.npz") as kept:
        return torch.from_numpy(kept["arr_0"]).permute(0, 3, 1, 2)


def digests(folder: Path) -> dict[str, str]:
    """Of the tensors in each file of a run, but for states, which hold how long they took."""
    found = [path for path in sorted(folder.rglob("*.safetensors")) if path.parent.name != "state"]
    return {str(path.relative_to(folder)): artifact.read_header(path)["digest"] for path in found}


def lasting(found: Any) -> Any:
    """A document without clocks and without how it was asked for."""
    if isinstance(found, dict):
        gone = ("seconds", "search_seconds", "command", "run", "path")
        return {key: lasting(value) for key, value in found.items() if key not in gone}
    return [lasting(one) for one in found] if isinstance(found, list) else found


# --- from a run to images and bits/dim


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"solver": "ddim", "eta": 0.5, "covariance": "spectral"},
        {"grid": "1,9,50", "covariance": "npr"},
        {"last_noise": "off", "clip_x0": False, "eps_scale": 1.3, "seed": 4},
        {"last_noise": 0.5, "precision": "bf16", "covariance": "banded"},
    ],
    ids=["plain", "ddim", "times", "changed", "bf16"],
)
def test_images_are_those_of_the_command(shared: Path, done: Done, tmp_path: Path, options: Json) -> None:
    steps = {} if "grid" in options else {"steps": 4}
    typed = done("sample", "--run", shared, "--count", 6, "--out", tmp_path / "typed", "--format", "npz",
                 *words({**steps, **options}))  # fmt: skip
    expected = kept_pixels(tmp_path / "typed")
    run = diffcov.Run(shared)
    sampler = run.sampler(**steps, **options)
    assert sampler.digest == typed["sampler_digest"]
    assert torch.equal(diffcov.draw(sampler, 6, batch_size=4), expected)
    assert torch.equal(diffcov.draw(sampler, 2, first=4), expected[4:])
    scripted = run.draw(**steps, **options, count=6, out=tmp_path / "scripted", formats=("npz",))
    assert torch.equal(kept_pixels(tmp_path / "scripted"), expected)
    assert scripted.sheet.is_file()
    assert lasting(scripted.as_dict())["sampler"] == typed["sampler"]


def test_bits_per_dim_are_those_of_the_command_and_of_its_parts(shared: Path, done: Done) -> None:
    typed = done("evaluate", "--run", shared, "--covariance", "npr,small", "--steps", 5, "--images", 20)
    run = diffcov.Run(shared)
    found = run.evaluate(covariances=BOUNDED, steps=5, images=20)
    assert lasting(found.as_dict()) == lasting(typed)
    assert found.bits_per_dim == {name: one["bits_per_dim"] for name, one in typed["nll"].items()}
    clipped, grid = diffcov.through(run.mean, diffcov.View(clip_x0=True)), diffcov.even(run.mean.schedule.T, 5)
    for name in BOUNDED:
        bound = diffcov.likelihood(clipped, run.covariance(name), grid, run.held_out(limit=20)).bits_per_dim()
        assert bound.mean == pytest.approx(found.bits_per_dim[name], rel=1e-6)
        assert bound.stderr == pytest.approx(typed["nll"][name]["stderr"], rel=1e-6)


def test_what_a_notebook_shows_is_one_line(shared: Path) -> None:
    run = Run(shared)
    assert repr(run) == f"Run({str(shared)!r})"
    for kind in load_all():
        statistic = load_statistic(run.folder.ingredient(kind), kind).statistic
        assert repr(statistic).startswith(f"{type(statistic).__name__}(")
        assert len(repr(statistic)) < 300


def test_what_a_run_holds_are_objects(shared: Path) -> None:
    run = Run(shared, device="cpu")
    assert run.checkpoint is run.checkpoint, "read once"
    assert run.mean is run.checkpoint.model
    assert run.mean.digest == load_mean(shared / "mean.safetensors").digest
    for name in OF_ANY_MEAN:
        assert run.covariance(name).name == name
    own, few, test = run.examples(), run.examples(limit=7), run.held_out(limit=9, split="test")
    assert torch.equal(own.images, load_images("digits").images)
    assert own.labels is None, "a mean without classes is told none"
    assert (len(few), len(test)) == (7, 9)
    assert torch.equal(test.images, load_images("digits", 9, "test").images)
    assert Run(shared, precision="bf16").mean.precision == "bf16"


def test_every_command_is_a_method(cli: Cli, done: Done, tmp_path: Path) -> None:
    """From nothing to a comparison, beside the same typed: equal documents, and files with equal tensors."""
    typed, scripted = tmp_path / "typed", tmp_path / "scripted"
    run = Run(scripted)
    training = {"channels": 8, "multipliers": (1,), "blocks": 1, "heads": 1, "attention": (), "timesteps": 50,
                "batch_size": 8, "iterations": 2}  # fmt: skip
    trained = run.train(**training).as_dict()
    assert lasting(trained["settings"]) == lasting(
        done("train-mean", "--run", typed, *TINY, "--iterations", 2)["settings"]
    )
    measuring = {"samples": 2, "knots": 4, "knot_samples": 4}
    assert lasting(run.estimate(**measuring).as_dict()) == lasting(
        done("estimate-var", "--run", typed, *words(measuring))
    )
    heads = {"iterations": 1, "batch_size": 8}
    fitted = run.fit(kind=registry.heads(), **heads)
    assert set(fitted.heads) == set(registry.heads())
    assert done("fit-var-head", "--run", typed, *ALL_KINDS, *words(heads))["settings"] == fitted.settings
    searching = {"covariance": "corrected", "images": 3, "seed": 2}
    found = lasting(run.search(**searching).as_dict())
    other = lasting(done("trajectory", "--run", typed, *words(searching)))
    assert found.pop("trajectories") == str(scripted / "trajectory-corrected.safetensors") != other.pop("trajectories")
    assert found == other
    assert run.sampler(covariance="corrected", grid="optimal", steps=3).grid.name == "optimal"
    comparing = {"steps": (2, 3), "count": 64, "images": 5, "features": "pixels", "samplers": ("ddim", "er-sde")}
    comparison = run.compare(**comparing, covariances=("small", "npr"))
    other = done("compare", "--run", typed, "--covariance", "small,npr", *words(comparing))
    assert not (scripted / "compare" / "report.html").exists(), "pages and pictures are for whoever wants them"
    write_comparison(comparison)
    paths = {"json", "csv", "curves", "report", "samples_ddpm", "samples_ddim", "samples_samplers"}
    document = lasting({key: value for key, value in other.items() if key not in paths})
    for one in (one for found in (comparison.document, document) for one in found["cells"] + found["sampler_cells"]):
        one.pop("seconds", None)
    assert lasting(comparison.document) == document
    assert listing(scripted).keys() == listing(typed).keys()
    assert digests(scripted) == digests(typed)


def test_a_mean_that_was_trained_again_is_read_again(mean_run: Path) -> None:
    run = Run(mean_run)
    before = run.mean.digest
    run.train(resume=True, iterations=4)
    assert run.mean.digest == load_mean(mean_run / "mean.safetensors").digest != before


@pytest.mark.parametrize(
    "method", ["train", "estimate", "fit", "sample", "sampler", "evaluate", "search", "compare", "tune"]
)
def test_an_option_that_a_command_does_not_have(shared: Path, method: str) -> None:
    before = listing(shared)
    with pytest.raises(TypeError, match="Request has no option covariant, stepz"):
        getattr(Run(shared), method)(stepz=3, covariant="small")
    assert listing(shared) == before


def test_refusals_are_those_of_the_commands(shared: Path, tmp_path: Path) -> None:
    run = Run(shared)
    with pytest.raises(UsageError, match="steps must be between 1 and T=50"):
        run.sampler(steps=51)
    with pytest.raises(UsageError, match="unknown covariance 'best'"):
        run.sampler(covariance="best")
    with pytest.raises(UsageError, match="unknown covariance 'best'"):
        run.covariance("best")
    with pytest.raises(UsageError, match="--metrics takes nll, ode-nll, distances, calibration, exposure"):
        run.evaluate(metrics=("fid",))
    with pytest.raises(OutputError, match="already exists"):
        run.estimate()
    nothing = Run(tmp_path / "absent")
    for asked in (lambda: nothing.mean, nothing.sample, nothing.estimate, nothing.fit, nothing.evaluate):
        with pytest.raises(InputError, match="holds no mean model"):
            asked()
    assert list(tmp_path.iterdir()) == []


# --- whom it tells


CONVERSATIONS: list[tuple[str, str, Json]] = [
    ("draw", "sample", {"steps": 3, "count": 2}),
    ("draw", "sample", {"steps": 2, "count": 2, "clip_x0": False, "covariance": "spectral"}),
    ("evaluate", "evaluate", {"steps": 3, "images": 4, "metrics": ("nll", "exposure"), "count": 3}),
    ("estimate", "estimate-var", {"samples": 2, "knots": 4, "knot_samples": 4, "force": True}),
    ("fit", "fit-var-head", {"kind": ("npr", "sn"), "iterations": 2, "batch_size": 8, "force": True}),
    ("search", "trajectory", {"covariance": "small", "images": 2}),
    ("compare", "compare", {"steps": (2,), "count": 0, "images": 3}),
    ("tune", "tune", {"steps": (2,), "few": 16, "count": 64, "features": "pixels"}),
    ("train", "train-mean", {"iterations": 4, "resume": True}),
]


@pytest.mark.parametrize(
    ("method", "command", "options"), CONVERSATIONS, ids=[f"{c}{len(o)}" for _, c, o in CONVERSATIONS]
)
def test_a_listener_hears_what_the_terminal_shows(
    full_run: Path,
    tmp_path: Path,
    cli: Cli,
    capfd: pytest.CaptureFixture[str],
    method: str,
    command: str,
    options: Json,
) -> None:
    """Every note and warning, in their order, with nothing else; and nothing is printed."""
    told, other = Recorder(), shutil.copytree(full_run, tmp_path / "other")
    getattr(Run(other, listener=told), method)(**options)
    assert capfd.readouterr() == ("", "")
    shown = cli(command, "--run", full_run, *words(options))
    assert shown.exit_code == 0, shown.stderr

    def timeless(lines: list[str]) -> list[str]:
        return [re.sub(r"\d+\.\d+ s\b", "some s", line.replace(str(other), str(full_run))) for line in lines]

    place = Console(full_run).placed
    notes, warnings = timeless(list(map(place, told.notes))), [f"warning: {place(one)}" for one in told.warnings]
    lines = timeless(shown.stderr.splitlines())
    assert [line for line in lines if line in notes] == notes
    assert [line for line in lines if line.startswith("warning: ")] == warnings
    for task in told.tasks:
        assert task.ended
        assert task.total is None or task.done == task.total, task.title
        assert f"{task.title}: {task.done:.0f}" in shown.stderr
    assert told.notes or told.tasks


@pytest.mark.slow
def test_nobody_is_told_where_nobody_listens(full_run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for method, _, options in CONVERSATIONS:
        getattr(Run(full_run), method)(**options)
    assert capfd.readouterr() == ("", "")


def test_a_listener_ends_a_training_which_goes_on_from_there(tmp_path: Path) -> None:
    training = {"channels": 8, "multipliers": (1,), "blocks": 1, "heads": 1, "attention": (), "timesteps": 50,
                "batch_size": 8, "iterations": 5, "log_every": 1}  # fmt: skip
    told = Recorder()
    told.stop = lambda: bool(told.tasks and told.tasks[-1].done >= 2)
    with pytest.raises(
        Interrupted, match="stopped at iteration 2; everything is saved, go on with: diffcov train-mean"
    ):
        Run(tmp_path / "stopped", listener=told).train(**training)
    resumed = Run(tmp_path / "stopped").train(resume=True)
    whole = Run(tmp_path / "whole").train(**training)
    assert resumed.iterations == whole.iterations == 5
    digests = {Run(tmp_path / name).mean.digest for name in ("stopped", "whole")}
    assert len(digests) == 1


# --- a network of one's own


MODULE = "networks_of_mine"
BUILDER = f"{MODULE}:build"
ARGUMENTS = {"width": 6, "gain": 0.25}
SOURCE = '''
import torch
from torch import nn


class Net(nn.Module):
    """Knows nothing of diffcov; ``gain`` is no weight, and changes what it says."""

    def __init__(self, width, gain, classes):
        super().__init__()
        self.gain = gain
        self.enter = nn.Conv2d(1, width, 3, padding=1)
        self.time = nn.Linear(1, width)
        self.label = nn.Embedding(classes, width) if classes else None
        self.leave = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, x, times, labels=None):
        h = self.enter(self.gain * x) + self.time(times[:, None] / 1000)[:, :, None, None]
        if labels is not None:
            h = h + (self.label(labels.clamp(min=0)) * (labels >= 0)[:, None])[:, :, None, None]
        return self.leave(torch.tanh(h))


def build(width, gain=1.0, classes=0):
    return Net(width, gain, classes)


def number():
    return 7
'''
DIGITS = DataDescription(1, 8, 8, levels=17)
T = 30


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the module, which can be imported."""
    folder = tmp_path_factory.mktemp("code")
    (folder / f"{MODULE}.py").write_text(SOURCE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder
    sys.modules.pop(MODULE, None)


def mine(predicts: str = "v", classes: int = 0, **more: Any) -> MeanModel:
    """A trained network, as far as one can tell."""
    names: dict[str, Any] = {}
    exec(SOURCE, names)
    torch.manual_seed(0)
    network = names["build"](**ARGUMENTS, classes=classes)
    time = TimeConvention(offset=0.0, scale=1000 / T)
    return MeanModel.of(
        network, predicts=predicts, schedule=NoiseSchedule.cosine(T), data=DIGITS, time=time, classes=classes, **more
    )


@pytest.fixture(scope="module")
def created(code: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MeanModel]:
    """A run of a network of one's own with statistics and every head, all made in a script. Read only."""
    path, mean = tmp_path_factory.mktemp("created") / "run", mine()
    run = Run.create(path, mean, BUILDER, ARGUMENTS, data="digits")
    run.estimate(samples=2, knots=4, knot_samples=4)
    run.fit(kind=registry.heads(), iterations=1, batch_size=8)
    return path, mean


@pytest.fixture
def own_run(created: tuple[Path, MeanModel], tmp_path: Path) -> Path:
    """A copy, to change."""
    return shutil.copytree(created[0], tmp_path / "run")


@pytest.mark.parametrize("predicts", ["eps", "v", "x0"])
@pytest.mark.parametrize("classes", [0, 10])
@pytest.mark.parametrize("features", [None, "enter"])
def test_weights_and_reading_are_saved(
    code: Path, tmp_path: Path, predicts: str, classes: int, features: str | None
) -> None:
    mean = mine(predicts, classes, features=features)
    arguments = {**ARGUMENTS, "classes": classes}
    run = Run.create(tmp_path / "run", mean, BUILDER, arguments)
    assert [path.name for path in run.folder.path.iterdir()] == ["mean.safetensors"]
    for opened in (run, Run(tmp_path / "run", module=BUILDER)):
        assert opened.mean.digest == MeanSpec.of(mean, BUILDER, arguments).wrap(mean.network).freeze().digest
        assert opened.checkpoint.weights == digest_of_tensors(mean.network.state_dict())
        assert opened.mean.reading == mean.reading
        assert (opened.checkpoint.spec.features, opened.checkpoint.data) == (features, None)
        x_t, t = torch.randn(3, *DIGITS.shape), torch.tensor([1, 12, T])
        cond = torch.tensor([0, 9, -1]) if classes else None
        found, expected = opened.mean.look(x_t, t, cond), mean.look(x_t, t, cond)
        assert torch.equal(found.x0_hat, expected.x0_hat)
        assert torch.equal(found.eps_hat, expected.eps_hat)
        assert torch.equal(found.features.activations, expected.features.activations)
    again = Run(tmp_path / "run", module=BUILDER).sampler(covariance="small", steps=3)
    assert torch.equal(diffcov.draw(again, 3), diffcov.draw(run.sampler(covariance="small", steps=3), 3))


@pytest.mark.parametrize(
    ("builder", "arguments", "error", "words"),
    [
        (MODULE, ARGUMENTS, UsageError, "a builder is named package.module:function, found"),
        (f"{MODULE}:absent", ARGUMENTS, InputError, f"built by {MODULE}:absent, and that cannot be imported"),
        ("nowhere_at_all:build", ARGUMENTS, InputError, "cannot be imported"),
        (f"{MODULE}:number", {}, InputError, "gives int, and a network is a torch.nn.Module"),
        (BUILDER, {"width": 6}, InputError, "builds a network that predicts something else from the same weights"),
        (BUILDER, {**ARGUMENTS, "width": 7}, InputError, "size mismatch for enter.weight"),
        (BUILDER, {**ARGUMENTS, "classes": 3}, InputError, "label.weight"),
        (BUILDER, {**ARGUMENTS, "depth": 7}, InputError, "does not take the arguments"),
        ("__main__:build", ARGUMENTS, InputError, "is in the script that is running"),
    ],
    ids=["no function", "absent", "nowhere", "no network", "other settings", "other width", "more weights",
         "unknown argument", "script"],
)  # fmt: skip
def test_a_builder_is_tried_before_anything_is_written(
    code: Path, tmp_path: Path, builder: str, arguments: Json, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=re.escape(words)) as caught:
        Run.create(tmp_path / "run", mine(), builder, arguments)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_images_that_are_not_the_mean_s_are_refused(code: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "other.npy", np.zeros((4, 8, 8), dtype=np.uint8))
    with pytest.raises(InputError, match=r"other.npy holds images of .*256 grey levels, but the mean's are .*17 grey"):
        Run.create(tmp_path / "run", mine(), BUILDER, ARGUMENTS, data=str(tmp_path / "other.npy"))
    assert not (tmp_path / "run").exists()


def test_a_mean_that_is_there_is_kept_without_force(code: Path, tmp_path: Path) -> None:
    Run.create(tmp_path, mine("v"), BUILDER, ARGUMENTS)
    before = listing(tmp_path)
    with pytest.raises(OutputError, match="already exists; use force=True to replace it, or another path"):
        Run.create(tmp_path, mine("x0"), BUILDER, ARGUMENTS)
    assert listing(tmp_path) == before
    assert Run.create(tmp_path, mine("x0"), BUILDER, ARGUMENTS, force=True).mean.reading == mine("x0").reading


def test_what_was_measured_belongs_to_the_weights_and_to_how_they_are_used(own_run: Path) -> None:
    """The same weights read otherwise, or built with other arguments, are another mean."""
    louder, arguments = mine(), {**ARGUMENTS, "gain": 2.0}
    louder.network.gain = 2.0
    for mean, built_with in ((mine("eps"), ARGUMENTS), (louder, arguments)):
        run = Run.create(own_run, mean, BUILDER, built_with, force=True)
        for name in ("analytic", "spectral", "full", "npr"):
            with pytest.raises(InputError, match=f"was made for another mean .*this model is {run.mean.digest[:12]}"):
                run.covariance(name)
    Run.create(own_run, mine(), BUILDER, ARGUMENTS, force=True).covariance("npr")


def test_everything_works_on_it(created: tuple[Path, MeanModel], own_run: Path) -> None:
    run = Run(own_run, module=BUILDER)
    provenance = load_images("digits").provenance(None)
    assert run.checkpoint.data == provenance
    assert torch.equal(run.examples().images, load_images("digits").images)
    bits = run.evaluate(covariances=("all",), steps=4, images=12).bits_per_dim
    assert set(bits) == set(OF_ANY_MEAN)
    clipped, grid = diffcov.through(run.mean, diffcov.View(clip_x0=True)), diffcov.even(T, 4)
    for name in OF_ANY_MEAN:
        covariance = run.covariance(name)
        found = diffcov.likelihood(clipped, covariance, grid, run.held_out(limit=12)).bits_per_dim()
        assert found.mean == pytest.approx(bits[name], rel=1e-6)
        assert diffcov.draw(run.sampler(covariance=name, steps=3), 2).shape == (2, *DIGITS.shape)
    assert load_head(run.folder.head("npr")).spec.network == "stem", "a head of a network that offers no features"
    found = run.compare(steps=(2,), count=64, images=4, features="pixels", covariances=("npr",), solvers=("ddpm",))
    assert found.document["mean"]["digest"] == run.mean.digest
    x_t = torch.randn(2, *DIGITS.shape)
    assert torch.equal(run.mean.output(x_t, 7), created[1].output(x_t, 7))
    (cell,) = found.document["cells"]
    assert cell["fid"] > 0
    run.search(covariance="corrected", images=2)
    assert run.sampler(covariance="corrected", grid="optimal", steps=3).grid.name == "optimal"
    assert run.sampler(steps=2, eps_scale="fitted").denoiser.view.eps_scale > 0


def test_another_range_and_a_schedule_by_its_betas(code: Path, tmp_path: Path, done: Done) -> None:
    """What a file of images says is shape and grey levels; range and betas belong to the reading, and all studies."""
    torch.manual_seed(0)
    mean = MeanModel.of(
        mine().network,
        predicts="eps",
        schedule=torch.linspace(1e-2, 0.4, T, dtype=torch.float64),
        data=DataDescription(1, 8, 8, levels=17, low=0.0, high=1.0),
    )
    run = Run.create(tmp_path / "run", mean, BUILDER, ARGUMENTS, data="digits")
    run.estimate(samples=2, knots=4, knot_samples=4)
    run.fit(kind=("npr",), iterations=1, batch_size=8)
    clean = diffcov.draw(run.sampler(covariance="corrected", steps=3), 4)
    assert clean.dtype == torch.uint8
    assert int(clean.max()) <= 16
    found = done(
        "compare", "--run", tmp_path / "run", "--module", BUILDER, "--steps", 2, "--count", 64, "--images", 4,
        "--features", "pixels", "--covariance", "npr,corrected",
    )  # fmt: skip
    assert found["schedule"] == {"name": "betas", "T": T, "fingerprint": mean.schedule.fingerprint}
    assert "Schedule</dt><dd>betas, T = 30" in (tmp_path / "run" / "compare" / "report.html").read_text()
    other = DataDescription(1, 8, 8, levels=16)
    assert not other.same_pixels(mean.data)
    assert not DataDescription(3, 8, 8, levels=17).same_pixels(mean.data)


def test_the_command_line_gives_the_same_with_the_module_s_name(
    created: tuple[Path, MeanModel], own_run: Path, done: Done, cli: Cli, tmp_path: Path
) -> None:
    run = Run(created[0], module=BUILDER)
    place = ("--run", own_run, "--module", BUILDER)
    typed = done("sample", *place, "--steps", 3, "--count", 4, "--covariance", "npr", "--format", "npz")
    sampler = run.sampler(steps=3, covariance="npr")
    assert typed["sampler_digest"] == sampler.digest
    assert torch.equal(kept_pixels(Path(typed["out"])), diffcov.draw(sampler, 4))
    assert typed["reading"] == created[1].reading.as_dict()
    evaluated = done("evaluate", *place, "--covariance", "all", "--steps", 4, "--images", 12)
    assert lasting(evaluated) == lasting(run.evaluate(covariances=("all",), steps=4, images=12).as_dict())
    words = ("--covariance", "npr", "--steps", 2, "--count", 64, "--images", 4, "--features", "pixels")
    (cell,) = done("compare", *place, *words, "--solver", "ddpm")["cells"]
    assert cell["fid"] > 0
    before = digests(own_run)
    again = ("estimate-var", *place, "--samples", 2, "--knots", 4, "--knot-samples", 4, "--force")
    assert cli(*again).exit_code == 0
    fitted = cli("fit-var-head", *place, *ALL_KINDS, "--iterations", 1, "--batch-size", 8, "--force")
    assert fitted.exit_code == 0, fitted.stderr
    assert digests(own_run) == before, "what the script had made"
    assert cli("trajectory", *place, "--covariance", "corrected", "--images", 2).exit_code == 0
    assert done("inspect", *place)["problems"] == []


def test_advice_names_the_module(code: Path, tmp_path: Path, cli: Cli) -> None:
    """What is to be typed next is what works."""
    Run.create(tmp_path / "run", mine(), BUILDER, ARGUMENTS, data="digits")
    place = ("--run", tmp_path / "run", "--module", BUILDER)
    refused = cli("sample", *place, "--covariance", "npr")
    assert refused.exit_code == 3
    assert f"diffcov fit-var-head --run {tmp_path / 'run'} --module {BUILDER} --kind npr" in refused.stderr
    measured = cli("estimate-var", *place, "--samples", 2, "--knots", 4, "--knot-samples", 4)
    advice = f"next: diffcov fit-var-head --run {tmp_path / 'run'} --module {BUILDER}"
    assert measured.stderr.splitlines()[-1] == advice
    typed = advice.removeprefix("next: diffcov ").split()
    assert cli(*typed, "--iterations", 1, "--batch-size", 8).exit_code == 0


@pytest.mark.parametrize(
    "command",
    [["sample"], ["evaluate"], ["compare"], ["trajectory"], ["estimate-var", "--force"], ["fit-var-head", "--force"]],
    ids=lambda command: command[0],
)
def test_no_command_runs_a_program_that_is_not_named(
    own_run: Path, refused: Callable[..., str], command: list[str]
) -> None:
    message = refused(3, *command, "--run", own_run)
    assert f"is built by {BUILDER}, which is a program; if you trust it, say --module {BUILDER}" in message
    message = refused(3, *command, "--run", own_run, "--module", f"{MODULE}:number")
    assert f"--module {MODULE}:number was given, and the mean in" in message
    assert f"is built by {BUILDER}" in message


def test_no_method_runs_a_program_that_is_not_named(own_run: Path) -> None:
    before = listing(own_run)
    sys.modules.pop(MODULE, None)
    run = Run(own_run)
    for asked in (lambda: run.mean, run.sampler, run.sample, run.evaluate, run.compare, run.search,
                  lambda: run.estimate(force=True), lambda: run.fit(force=True)):  # fmt: skip
        with pytest.raises(InputError, match=f"if you trust it, say --module {BUILDER}"):
            asked()
    assert MODULE not in sys.modules
    assert listing(own_run) == before


def test_a_module_that_is_not_needed_is_refused(full_run: Path, refused: Callable[..., str]) -> None:
    message = refused(3, "sample", "--run", full_run, "--module", BUILDER)
    assert "needs no module: its network is ours" in message
    with pytest.raises(InputError, match="needs no module: its network is ours"):
        _ = Run(full_run, module=BUILDER).mean


@pytest.mark.slow
def test_a_module_in_the_folder_where_one_stands_is_found(own_run: Path, code: Path) -> None:
    """Also by the program as it is installed, whose search path does not begin there."""
    program = [sys.executable, "-P", "-c", "from diffcov.cli.app import main; main()"]
    options = ["sample", "--run", str(own_run), "--steps", "2", "--count", "1", "--covariance", "small"]
    named = subprocess.run([*program, *options, "--module", BUILDER], cwd=code, capture_output=True, check=False)
    assert named.returncode == 0, named.stderr
    elsewhere = subprocess.run(
        [*program, *options, "--force", "--module", BUILDER], cwd=own_run, capture_output=True, text=True, check=False
    )
    assert elsewhere.returncode == 3
    assert "cannot be imported" in elsewhere.stderr


def test_images_of_a_mean_that_knows_none_have_to_be_told(code: Path, tmp_path: Path) -> None:
    """Until something has been measured on some: then these are the run's own."""
    run = Run.create(tmp_path / "run", mine(), BUILDER, ARGUMENTS)
    for asked in (run.examples, run.held_out, run.estimate, lambda: run.evaluate(steps=2),
                  lambda: run.sampler(eps_scale="fitted", steps=2)):  # fmt: skip
        with pytest.raises(InputError, match="not known"):
            asked()
    told = Recorder()
    run = Run(tmp_path / "run", module=BUILDER, listener=told)
    run.estimate(data="digits", limit=50, samples=1, knot_samples=0)
    assert len(run.examples()) == 50
    assert torch.equal(run.examples().images, load_images("digits", 50).images)
    assert run.evaluate(steps=2, images=5, covariances=("corrected",)).document["images"]["split"] == "test"
    assert told.warnings == ["1 images a time is few: the table will be noisy; 10 suffice, 25 are plenty"]


def test_a_network_of_one_s_own_with_classes(code: Path, tmp_path: Path) -> None:
    told, arguments = Recorder(), {**ARGUMENTS, "classes": 10}
    run = Run.create(tmp_path / "run", mine(classes=10), BUILDER, arguments, data="digits", listener=told)
    assert run.examples().labels is not None
    assert told.warnings == [], "the images are those that it was said to be trained on"
    run.estimate(samples=1, knot_samples=0, guidance=2.0)
    for options, calls in (({}, 1), ({"guidance": 2.0, "covariance": "corrected"}, 2)):
        found = run.draw(steps=2, count=3, classes=("7", "1"), **options).manifest
        assert (found["looks"], found["network_calls"]) == (2, 2 * calls)
        assert found["sampler"]["classes"] == {"name": "7-1", "classes": [7, 1]}
        assert found["covariance_measured_at_this_guidance"] is (calls == 2)
