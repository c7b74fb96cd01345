"""``tune``: a recipe for each K with its evidence; ``sample``, ``compare`` and ``inspect`` know it from then on."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import diffcov.study.tune
from conftest import Cli, listing, strict_json
from diffcov.diffusion.grids import GRIDS, make_grid
from diffcov.engines.distances.features import features_of, pixels
from diffcov.engines.recipe import LITERATURE, Recipe
from diffcov.engines.sampling import draw, generate
from diffcov.engines.tuning.halving import Plan
from diffcov.errors import NonFiniteError, UsageError
from diffcov.store import artifact
from diffcov.store.checkpoint import load_mean
from diffcov.store.parts import Part, PartsFolder
from diffcov.store.recipes import RecipeFile, load_recipe, save_recipe
from diffcov.store.run import RunFolder
from diffcov.study import compared_samplers, tuning_bench
from diffcov.study.run import Run
from diffcov.study.samplers import Samplers
from diffcov.study.tune import search_space
from oracles.listening import Recorder

Json = dict[str, Any]
Done = Callable[..., Json]
Refused = Callable[..., str]
K = 4
SMALL = ("--steps", K, "--few", 16, "--count", 66, "--features", "pixels")


@pytest.fixture(scope="module", autouse=True)
def short() -> Iterator[None]:
    """A search of one round, so that each takes a second: what is looked beside is tested with the search itself."""
    with pytest.MonkeyPatch.context() as patch:
        plan = functools.partial(Plan, parents=(1,), steps=(0.25,), rungs=((2, 3),), sheets=100)
        patch.setattr(tuning_bench, "Plan", plan)
        yield


@pytest.fixture(scope="module")
def tuned(done: Done, finished: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Json]:
    """A run that is tuned for 4 steps, and what the command printed. Copy it to change it."""
    run = shutil.copytree(finished, tmp_path_factory.mktemp("tuned") / "run")
    return run, done("tune", "--run", run, *SMALL)


@pytest.fixture
def run(tuned: tuple[Path, Json], tmp_path: Path) -> Path:
    """A copy of it, to change."""
    return shutil.copytree(tuned[0], tmp_path / "run")


def written(run: Path, recipe: Recipe, steps: int = K, **more: Any) -> Path:
    """A recipe of this run, as tune would leave it."""
    values = {"made_of": {}, "guidance": 1.0, "evidence": {}, **more}
    path = RunFolder(run).recipe(steps)
    save_recipe(path, RecipeFile(recipe, steps, load_mean(run / "mean.safetensors").digest, **values))
    return path


# --- what it finds


def test_a_recipe_and_its_evidence(tuned: tuple[Path, Json]) -> None:
    run, found = tuned
    path = RunFolder(run).recipe(K)
    assert found["recipes"].keys() == {str(K)}
    told = dict(found["recipes"][str(K)])
    assert told.pop("path") == str(path)
    written = strict_json(path.read_text(encoding="utf-8"))
    assert written.pop("digest")
    assert told == written
    assert (told["steps"], told["mean"]) == (K, load_mean(run / "mean.safetensors").digest)
    assert told["summary"] == Recipe.from_dict(told["recipe"]).label
    seen = told["evidence"]
    assert (seen["features"], seen["tried"]) == ("pixels", len(seen["candidates"]))
    assert seen["samples_drawn"] <= seen["samples_at_most"] == 100 * 16 + 5 * 66
    assert seen["network_calls"] == K * seen["samples_drawn"]
    counted = sum(max(map(int, one["distance"])) for one in seen["candidates"])
    assert seen["samples_drawn"] == counted + 66 * len(seen["finalists"]), "every sample that was looked at is counted"
    distances = [one["distance"] for one in seen["finalists"]]
    assert distances == sorted(distances)
    assert seen["finalists"][0]["recipe"] == told["recipe"]
    assert sum(one["finalist"] for one in seen["finalists"]) == 3
    assert all(one["stderr"] > 0 and one["count"] == 66 for one in seen["finalists"])
    assert {tuple(one["distance"]) for one in seen["candidates"]} == {("16", "32"), ("16",)}


def test_it_chooses_on_noise_that_draws_nothing_else(tuned: tuple[Path, Json]) -> None:
    """The kept features are those of its own stream; of either seed ``sample`` and ``compare`` draw other images."""
    run, found = tuned
    told = found["recipes"][str(K)]
    assert told["evidence"]["noise"] == {"purpose": "tune", "chosen_on": 0, "judged_on": 1}
    assert told["evidence"]["settings"]["noise"] == "tune"
    samplers = Samplers(RunFolder(run), load_mean(run / "mean.safetensors"))
    for seed, last in ((0, 16), (1, 16)):  # what chose, and what judged
        sampler = samplers.sampler(Recipe.from_dict(told["recipe"]), K, seed)
        (path,) = (run / "recipes" / "parts").glob(f"{K}-{sampler.digest[:20]}-*-0-{last}.safetensors")
        kept = artifact.read(path, "comparison-part").tensors["features"]
        own, shown = (next(generate(sampler, last, purpose=purpose)) for purpose in ("tune", "sample"))
        assert torch.equal(kept, features_of(pixels(sampler.denoiser.data), own))
        assert torch.equal(shown, draw(sampler, last)), "what the commands show"
        assert not any(torch.equal(a, b) for a in own for b in shown)


def test_what_an_older_search_kept_is_drawn_anew(run: Path, done: Done, tuned: tuple[Path, Json]) -> None:
    """Its features belong to the noise of samples, and they go by the same name; its recipe is refused."""
    parts = PartsFolder(run / "recipes", force=True)
    for path in (run / "recipes" / "parts").iterdir():
        read = artifact.read(path, "comparison-part")
        older = {key: one for key, one in read.metadata["identity"].items() if key != "noise"}
        wrong = Part({"features": read.tensors["features"] + 5.0}, read.metadata["values"])
        parts.save_part(path.stem, {**older, "version": 1}, wrong)
    again = done("tune", "--run", run, *SMALL, "--force")["recipes"][str(K)]
    first = tuned[1]["recipes"][str(K)]
    assert again["evidence"]["finalists"] == first["evidence"]["finalists"]
    assert again["evidence"]["candidates"] == first["evidence"]["candidates"]


def test_a_recipe_that_was_found_on_the_noise_of_samples_is_refused(run: Path, refused: Refused) -> None:
    path = RunFolder(run).recipe(K)
    found = load_recipe(path)
    settings = {key: one for key, one in found.evidence["settings"].items() if key != "noise"}
    save_recipe(path, replace(found, evidence={**found.evidence, "settings": settings}))
    assert refused(1, "tune", "--run", run, *SMALL).startswith(f"{path} is there and was tuned with another noise; ")


def test_it_is_no_farther_than_what_everybody_would_pick(tuned: tuple[Path, Json]) -> None:
    """On the noise and images that chose: no recipe of the literature is nearer on as many samples."""
    candidates = tuned[1]["recipes"][str(K)]["evidence"]["candidates"]
    few = {json.dumps(one["recipe"]): one["distance"]["16"] for one in candidates}
    published = [few.get(json.dumps(one.as_dict())) for one in LITERATURE.values()]
    assert sum(one is not None for one in published) == len(LITERATURE), "the run holds what every one needs"
    assert min(few.values()) <= min(one for one in published if one is not None)


def test_typed_again_it_is_there(tuned: tuple[Path, Json], cli: Cli) -> None:
    run, found = tuned
    before = listing(run)
    again = cli("tune", "--run", run, *SMALL)
    assert again.exit_code == 0, again.stderr
    assert f"4 steps: {RunFolder(run).recipe(K)} is there: {found['recipes']['4']['summary']}" in again.stderr
    assert again.stdout == f"{RunFolder(run).recipe(K)}\n"
    assert "on fresh noise" in again.stderr, "the table is shown all the same"
    assert listing(run) == before


def test_force_draws_nothing_again(run: Path, done: Done, tuned: tuple[Path, Json], monkeypatch: Any) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("everything was kept")

    monkeypatch.setattr(tuning_bench, "generate", never)
    again = done("tune", "--run", run, *SMALL, "--force")["recipes"][str(K)]
    first = tuned[1]["recipes"][str(K)]
    for found in (again, first):
        found["evidence"].pop("command", None)
    assert {**again, "path": ""} == {**first, "path": ""}


def test_other_settings_are_refused_by_name(run: Path, refused: Refused) -> None:
    path = RunFolder(run).recipe(K)
    message = refused(1, "tune", "--run", run, *SMALL, "--seed", 3)
    assert message.startswith(f"{path} is there and was tuned with another seed; use --force to tune again")
    assert "was tuned with another few;" in refused(1, "tune", "--run", run, *SMALL, "--few", 17)
    save_recipe(path, RecipeFile(**{**vars(load_recipe(path)), "made_of": {"variance.safetensors": "ab" * 32}}))
    assert "was tuned with another variance.safetensors;" in refused(1, "tune", "--run", run, *SMALL)
    (run / "head-npr.safetensors").unlink()
    assert "was tuned with another covariances, variance" in refused(1, "tune", "--run", run, *SMALL)
    path.write_text("{}")
    assert "is no recipe of this version" in refused(3, "tune", "--run", run, *SMALL)


def test_interrupted_it_goes_on_where_it_stopped(
    run: Path, cli: Cli, done: Done, tuned: tuple[Path, Json], monkeypatch: Any
) -> None:
    """Ctrl-C leaves whole parts and no recipe; what comes out in the end is as if nothing had happened."""
    every = digests(run)
    for name in sorted(every)[::4]:
        (run / "recipes" / "parts" / name).unlink()
    RunFolder(run).recipe(K).unlink()
    drawn, whole = [], tuning_bench.generate

    def some(*args: Any, **settings: Any) -> Any:
        if len(drawn) == 5:
            raise KeyboardInterrupt
        drawn.append(1)
        return whole(*args, **settings)

    monkeypatch.setattr(tuning_bench, "generate", some)
    stopped = cli("tune", "--run", run, *SMALL)
    assert (stopped.exit_code, stopped.stdout) == (130, "")
    assert "interrupted" in stopped.stderr
    assert not RunFolder(run).recipe(K).exists()
    parts = digests(run)
    assert len(parts) == len(every) - len(sorted(every)[::4]) + 5
    assert all(every[name] == digest for name, digest in parts.items())
    monkeypatch.undo()
    found = done("tune", "--run", run, *SMALL)["recipes"][str(K)]
    first = tuned[1]["recipes"][str(K)]
    assert {**found, "path": ""} == {**first, "path": "", "evidence": {**first["evidence"], **only(found, "command")}}
    assert digests(run) == every


def digests(run: Path) -> dict[str, str]:
    """Of the tensors of each part."""
    return {path.name: artifact.read_header(path)["digest"] for path in (run / "recipes" / "parts").iterdir()}


def only(found: Json, key: str) -> Json:
    return {key: found["evidence"][key]}


def test_without_time_it_takes_the_best_of_what_it_saw(finished: Path, tmp_path: Path, done: Done) -> None:
    run = shutil.copytree(finished, tmp_path / "run")
    found = done("tune", "--run", run, *SMALL, "--steps", "3,4", "--minutes", 0)["recipes"]
    for one in found.values():
        assert one["evidence"]["tried"] == 1, "the first, and nothing more was asked for"
        assert one["recipe"] == Recipe("ddpm").as_dict()


@pytest.mark.parametrize(("seconds", "tried", "judged"), [(800, 20, 2), (100, 3, 1)])
def test_minutes_are_for_all_of_it(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: int, tried: int, judged: int
) -> None:
    """The finals have their time too, by a clock that goes on by a second a sample; few seconds have one of them."""
    clock, drawn = [0.0], tuning_bench.TuningBench._draw

    def slowly(bench: tuning_bench.TuningBench, sampler: Any, first: int, last: int) -> Part:
        bench._begun = 0.0
        clock[0] += last - first
        return drawn(bench, sampler, first, last)

    monkeypatch.setattr(tuning_bench.TuningBench, "_draw", slowly)
    monkeypatch.setattr(tuning_bench, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(diffcov.study.tune, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    told = Recorder()
    run = Run(shutil.copytree(finished, tmp_path / "run"), listener=told)
    found = run.tune(steps=(K,), few=16, count=66, features="pixels", minutes=seconds / 60)
    evidence = found.files[K].evidence
    assert evidence["tried"] >= tried
    assert len(evidence["finalists"]) >= judged
    assert (judged == 1) == any(warning.startswith("there is time for one finalist") for warning in told.warnings)
    assert seconds - 2 * 66 <= clock[0] <= seconds + 66, "the first finalist is judged in any case"


def test_what_was_drawn_is_told_when_it_is_stopped(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = tuning_bench.TuningBench._draw

    def stopped(bench: tuning_bench.TuningBench, *what: Any) -> Part:
        if bench.drawn == 48:
            raise KeyboardInterrupt
        return drawn(bench, *what)

    monkeypatch.setattr(tuning_bench.TuningBench, "_draw", stopped)
    told = Recorder()
    with pytest.raises(KeyboardInterrupt):
        Run(shutil.copytree(finished, tmp_path / "run"), listener=told).tune(
            steps=(K,), few=16, count=66, features="pixels"
        )
    assert told.notes[-1] == "48 samples are kept; the same command goes on with them"


def test_a_script_hears_the_best_so_far(run: Path) -> None:
    told = Recorder()
    found = Run(run, listener=told).tune(steps=(K,), few=16, count=66, features="pixels", force=True, seed=7)
    (task,) = [one for one in told.tasks if one.title == "tune"]
    assert task.unit == "calls"
    assert 0 < task.done == task.total <= found.files[K].evidence["network_calls"], "what was kept is not drawn again"
    assert any(message.startswith("4 steps: best of 16 samples: ") for _, message in task.told)
    assert told.said(f"4 steps: {found.files[K].recipe.label}: ")
    assert load_recipe(found.paths[K]) == found.files[K]
    by_spectrum = Run(run).tune(steps=(3,), few=16, count=64, features="spectrum", minutes=0)
    assert by_spectrum.files[3].evidence["features"] == "spectrum"


# --- what cannot be drawn


def test_a_run_with_a_mean_alone_tries_what_it_can(mean_run: Path, done: Done) -> None:
    found = done("tune", "--run", mean_run, *SMALL, "--minutes", 0)["recipes"][str(K)]
    assert found["made_of"] == {}
    solvers = {one["recipe"]["solver"] for one in found["evidence"]["candidates"]}
    assert solvers <= set(found["evidence"]["settings"]["solvers"])
    assert not solvers & {"addim", "spectral-ei"}


def test_a_table_of_some_times_leaves_out_what_visits_others(mean_run: Path, cli: Cli) -> None:
    """What the table is needed for at other times is told and left out; the search goes on."""
    assert cli("estimate-var", "--run", mean_run, "--samples", 2, "--steps", 3, "--knot-samples", 0).exit_code == 0
    result = cli("tune", "--run", mean_run, *SMALL, "--json")
    assert result.exit_code == 0, result.stderr
    found = strict_json(result.stdout)["recipes"][str(K)]
    seen = found["evidence"]
    lost = [one for one in seen["candidates"] if "left_out" in one]
    needy = [
        one
        for one in seen["candidates"]
        if one["recipe"]["solver"] == "addim" or one["recipe"]["covariance"] in ("corrected", "analytic")
    ]
    assert lost == needy != []
    assert all(one["distance"] == {"16": None} for one in lost)
    assert f"{len(lost)} of {seen['tried']} candidates could not be drawn" in result.stderr
    told = [line for line in result.stderr.splitlines() if line.startswith("without ") and "in 4 steps" in line]
    assert len(told) == len({one["left_out"] for one in lost}), "each reason once"


def test_samples_that_are_no_numbers_are_infinitely_far(
    finished: Path, tmp_path: Path, done: Done, monkeypatch: Any
) -> None:
    """Of one solver: the others go on, and the parts remember it."""
    run, whole = shutil.copytree(finished, tmp_path / "run"), tuning_bench.generate

    def broken(sampler: Any, *args: Any, **settings: Any) -> Any:
        if sampler.solver.name in ("dpmpp", "unipc"):
            raise NonFiniteError("NaN or infinity while sampling")
        return whole(sampler, *args, **settings)

    monkeypatch.setattr(tuning_bench, "generate", broken)
    found = done("tune", "--run", run, *SMALL)["recipes"][str(K)]
    assert found["recipe"]["solver"] not in ("dpmpp", "unipc")
    lost = [one for one in found["evidence"]["candidates"] if one["recipe"]["solver"] in ("dpmpp", "unipc")]
    assert lost and all(one["left_out"] == "NaN or infinity while sampling" for one in lost)
    assert found["evidence"]["candidates"][-1] in lost, "last of all"
    monkeypatch.undo()
    again = done("tune", "--run", run, *SMALL, "--force")["recipes"][str(K)]
    assert again["recipe"] == found["recipe"]


def test_a_mean_that_draws_no_numbers_at_all(mean_run: Path, cli: Cli, monkeypatch: Any) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise NonFiniteError("NaN or infinity while sampling")

    monkeypatch.setattr(tuning_bench, "generate", broken)
    result = cli("tune", "--run", mean_run, *SMALL)
    assert result.exit_code == 4
    assert "error: no candidate of 4 steps could be drawn: NaN or infinity while sampling" in result.stderr
    assert not RunFolder(mean_run).recipe(K).exists()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--steps", "51"], 2, "steps must be between 1 and T=50 (got 51)"),
        (["--count", "64", "--features", "cubes"], 2, "choose auto, pixels, spectrum, classifier, inception"),
        (["--guidance", "2"], 2, "guidance"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_values_that_cannot_be(mean_run: Path, cli: Cli, words: list[str], code: int, message: str) -> None:
    result = cli("tune", "--run", mean_run, "--features", "pixels", *words)
    assert (result.exit_code, result.stdout) == (code, "")
    assert message in result.stderr
    assert RunFolder(mean_run).all_recipes() == []


def test_values_that_the_parser_refuses(unusable: Callable[..., str], mean_run: Path) -> None:
    assert "--few" in unusable("tune", "--run", mean_run, "--few", 15)
    assert "--count" in unusable("tune", "--run", mean_run, "--count", 63)


# --- sample


def pixels_of(out: Path) -> Any:
    with np.load(out / "samples.npz") as kept:
        return kept["arr_0"]


def test_sample_takes_the_recipe_of_its_k(run: Path, cli: Cli, tmp_path: Path) -> None:
    own = load_recipe(RunFolder(run).recipe(K)).recipe
    words = ["sample", "--run", run, "--count", 3, "--format", "npz", "--out", tmp_path / "out"]
    result = cli(*words, "--steps", K, "--json")
    assert result.exit_code == 0, result.stderr
    assert (
        f"recipe: {own.label} (what tune found best at 4 steps; --recipe none for the plain sampler)" in result.stderr
    )
    manifest = strict_json(result.stdout)
    assert (manifest["recipe"], manifest["steps"], manifest["looks"]) == (own.as_dict(), K, K)
    assert manifest["sampler"]["solver"]["name"] == own.solver
    sampler = Run(run).sampler(steps=K)
    assert sampler.digest == manifest["sampler_digest"]
    assert Samplers(RunFolder(run), load_mean(run / "mean.safetensors")).sampler(own, K).digest == sampler.digest
    for more in (["--steps", 5], ["--steps", K, "--recipe", "none"], ["--steps", K, "--solver", "ddim"],
                 ["--steps", K, "--covariance", "npr"], ["--steps", K, "--eps-scale", 1.1]):  # fmt: skip
        plain = cli(*words, "--force", *more, "--json")
        assert plain.exit_code == 0, plain.stderr
        assert "recipe" not in strict_json(plain.stdout), more


def test_a_recipe_is_the_same_as_its_options(run: Path, done: Done, tmp_path: Path) -> None:
    recipe = Recipe("dpmpp", "spectral", "edm", order=2, weight=0.75, through="eps_hat", share=0.25, eps_scale=1.01)
    path = written(run, recipe)
    words = ["sample", "--run", run, "--count", 3, "--format", "npz", "--seed", 7]
    options = ["--solver", "dpmpp", "--covariance", "spectral", "--grid", "edm", "--order", 2, "--weight", 0.75,
               "--through", "eps_hat", "--share", 0.25, "--eps-scale", 1.01, "--steps", K]  # fmt: skip
    one = done(*words, "--recipe", path, "--out", tmp_path / "one")
    other = done(*words, *options, "--out", tmp_path / "other")
    assert one["steps"] == K, "a tuned recipe knows its own number"
    assert one["sampler"] == other["sampler"]
    assert np.array_equal(pixels_of(tmp_path / "one"), pixels_of(tmp_path / "other"))


@pytest.mark.parametrize("name", ["ddim", "dpmpp-2m", "spectral-ddim", "addim"])
def test_recipes_of_the_literature_by_name(tuned: tuple[Path, Json], name: str) -> None:
    recipe = LITERATURE[name]
    sampler = Run(tuned[0]).sampler(recipe=name, steps=3)
    assert (sampler.solver.name, sampler.covariance.name) == (recipe.solver, recipe.covariance)
    assert sampler.grid == make_grid("even", sampler.denoiser.schedule, 3)
    assert torch.isfinite(torch.tensor(sampler.share))


def test_listed_times_are_the_number_of_steps(run: Path, refused: Refused) -> None:
    path = written(run, Recipe("ddim", grid=(1, 20, 50)), steps=3)
    sampler = Run(run).sampler(recipe=str(path))
    assert sampler.grid.times == (1, 20, 50)
    message = refused(2, "sample", "--run", run, "--recipe", path, "--steps", 5)
    assert message == "the recipe lists 3 times, and 5 steps were asked for; leave --steps out"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--solver", "ddim"], "a recipe decides --solver, --grid or their numbers: leave that out, or --recipe unipc"),
        (["--grid", "edm"], "a recipe decides --solver, --grid or their numbers"),
        (["--covariance", "npr"], "a recipe decides --covariance: leave that out, or --recipe unipc"),
        (["--eps-scale", "1.1"], "a recipe decides --eps-scale or --clip-x0"),
        (["--no-clip-x0"], "a recipe decides --eps-scale or --clip-x0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_recipe_stands_alone(mean_run: Path, refused: Refused, words: list[str], message: str) -> None:
    assert refused(2, "sample", "--run", mean_run, "--recipe", "unipc", *words).startswith(message)


def test_what_is_no_recipe(mean_run: Path, refused: Refused, tmp_path: Path) -> None:
    message = refused(2, "sample", "--run", mean_run, "--recipe", "best")
    assert message.startswith("--recipe best is no recipe and no file; choose one of ddpm-small, ddpm-large, ddim")
    (tmp_path / "text.json").write_text("hello")
    assert "is no recipe (no JSON" in refused(3, "sample", "--run", mean_run, "--recipe", tmp_path / "text.json")


def test_a_recipe_of_another_mean_or_table(run: Path, refused: Refused, stranger: Path, cli: Cli) -> None:
    """By its path it is refused; unasked it is left alone and told."""
    path, digest = RunFolder(run).recipe(K), "ab" * 32
    save_recipe(path, RecipeFile(Recipe("ddim", "npr"), K, digest, {}, 1.0, {}))
    message = refused(3, "sample", "--run", run, "--recipe", path)
    assert message.startswith(f"{path} was tuned with another mean (abababababab, this one is ")
    written(run, Recipe("ddim", "corrected"), made_of={"variance.safetensors": digest})
    assert "with another variance.safetensors than" in refused(3, "sample", "--run", run, "--recipe", path)
    result = cli("sample", "--run", run, "--steps", K, "--count", 2, "--json")
    assert result.exit_code == 0, result.stderr
    assert (
        f"warning: {path} is left alone: it was tuned with another variance.safetensors; tune again with:"
        in result.stderr
    )
    assert "recipe" not in strict_json(result.stdout)
    written(run, Recipe("ddim"), guidance=1.5)
    result = cli("sample", "--run", run, "--steps", K, "--count", 2, "--force")
    assert "it was tuned with another guidance (1.5, and this is 1); tune again with: diffcov tune" in result.stderr


# --- compare


COMPARE = ("--covariance", "small", "--solver", "ddim", "--count", 66, "--features", "pixels", "--images", 4)


@pytest.fixture(scope="module")
def compared(
    tuned: tuple[Path, Json], cli: Cli, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, Json, str]:
    """The run, the folder, the document and what was said: the samplers of a user and what tune found."""
    run = shutil.copytree(tuned[0], tmp_path_factory.mktemp("compared") / "run")
    written(run, Recipe("ddim", grid=(1, 20, 50)), steps=3)
    path = RunFolder(run).recipe(3)
    result = cli("compare", "--run", run, *COMPARE, "--steps", "3,4,6", "--samplers", f"ddim,er-sde,{path},tuned",
                 "--json")  # fmt: skip
    assert result.exit_code == 0, result.stderr
    return run, path, strict_json(result.stdout), result.stderr


def test_samplers_stand_beside_covariances(compared: tuple[Path, Path, Json, str]) -> None:
    run, path, found, said = compared
    assert list(found["samplers"]) == ["ddim", "er-sde", str(path), "tuned"]
    cells = {(one["sampler"], one["steps"]): one for one in found["sampler_cells"]}
    named = {(name, steps) for name in ("ddim", "er-sde") for steps in (3, 4, 6)}
    assert cells.keys() == named | {(str(path), 3), ("tuned", 3), ("tuned", 4)}
    for (_, steps), one in cells.items():
        assert one["network_calls"] == steps == len(one["times"])
        assert all(one[key] is not None for key in ("fid", "kid", "precision", "recall", "seconds"))
    assert cells["tuned", 4]["summary"] == load_recipe(RunFolder(run).recipe(4)).recipe.label
    assert cells["tuned", 3]["fid"] == cells[str(path), 3]["fid"]
    covariance = {one["steps"]: one for one in found["cells"]}
    assert all(cells["ddim", steps]["fid"] == covariance[steps]["fid"] for steps in (3, 4, 6)), "the same part"
    assert f"without {path} at 6 steps: the recipe lists 3 times, and 6 steps were asked for" in said
    assert f"no tuned sampler of 6 steps; find one with: diffcov tune --run {run} --steps 6" in said
    assert "fid@66 pixels, samplers; lower is better" in said


def test_its_files_show_them(compared: tuple[Path, Path, Json, str]) -> None:
    run, path, found, said = compared
    report = Path(found["report"]).read_text(encoding="utf-8")
    assert all(name in report for name in ("er-sde", str(path), "what tune found for each number of steps"))
    assert Path(found["samples_samplers"]).name == "samples-samplers.png"
    assert f"picture of every sampler, nearest to the data first: {found['samples_samplers']}" in said
    assert run / "compare" == Path(found["report"]).parent


def test_no_samplers_at_all(compared: tuple[Path, Path, Json, str], done: Done, tmp_path: Path) -> None:
    run = compared[0]
    found = done("compare", "--run", run, *COMPARE, "--steps", 3, "--samplers", "none", "--out", tmp_path / "out")
    assert (found["samplers"], found["sampler_cells"]) == ({}, [])
    assert "samples_samplers" not in found


def test_what_a_run_cannot_build_is_told(mean_run: Path, cli: Cli) -> None:
    words = ["--steps", 2, "--samplers", "npr-ddim,ddim", "--covariance", "small", "--solver", "ddpm"]
    result = cli("compare", "--run", mean_run, *words, "--count", 64, "--features", "pixels", "--images", 2, "--json")
    assert result.exit_code == 0, result.stderr
    assert [one["sampler"] for one in strict_json(result.stdout)["sampler_cells"]] == ["ddim"]
    assert "without npr-ddim: " in result.stderr
    assert f"diffcov fit-var-head --run {mean_run} --kind npr" in result.stderr


def test_a_sampler_that_draws_no_numbers_is_left_out(
    mean_run: Path, cli: Cli, tmp_path: Path, monkeypatch: Any
) -> None:
    whole = compared_samplers.Bench.drawn

    def broken(bench: Any, sampler: Any) -> Any:
        if sampler.solver.name == "er-sde":
            raise NonFiniteError("NaN or infinity while sampling")
        return whole(bench, sampler)

    monkeypatch.setattr(compared_samplers.Bench, "drawn", broken)
    words = ["--steps", 2, "--samplers", "er-sde,ddim", "--covariance", "small", "--solver", "ddpm"]
    result = cli("compare", "--run", mean_run, *words, "--count", 64, "--features", "pixels", "--images", 2, "--json")
    assert result.exit_code == 0, result.stderr
    assert [one["sampler"] for one in strict_json(result.stdout)["sampler_cells"]] == ["ddim"]
    assert "without er-sde: NaN or infinity while sampling" in result.stderr


def test_an_unknown_sampler_is_refused_before_anything(mean_run: Path, cli: Cli) -> None:
    result = cli("compare", "--run", mean_run, *COMPARE, "--steps", 2, "--samplers", "ddim,euler")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--recipe euler is no recipe and no file" in result.stderr
    assert not (mean_run / "compare").exists()


# --- inspect


def test_inspect_shows_recipes(run: Path, done: Done, cli: Cli) -> None:
    path = RunFolder(run).recipe(K)
    found = load_recipe(path)
    (part,) = [one for one in done("inspect", run)["parts"] if one["kind"] == "recipe"]
    assert (part["path"], part["steps"], part["sampler"]) == (str(path), K, found.recipe.label)
    assert part["distance"] == found.evidence["finalists"][0]["distance"]
    assert part["relative_to"] == found.made_of
    assert done("inspect", path)["parts"] == [part]
    save_recipe(path, RecipeFile(Recipe("ddim", "corrected"), K, "ab" * 32, {"variance.safetensors": "cd" * 32}, 1, {}))
    result = cli("inspect", run)
    assert result.exit_code == 3
    assert f"{path} was made for another mean (trunk abababababab" in result.stderr
    assert f"{path} was made of another variance.safetensors" in result.stdout
    path.write_text("{}")
    assert f"{path} is no recipe" in cli("inspect", run).stdout


def test_grids_that_visit_the_same_times_are_tried_once(tuned: tuple[Path, Json]) -> None:
    run, found = tuned
    schedule = load_mean(run / "mean.safetensors").model.schedule
    names = {one["recipe"]["grid"] for one in found["recipes"][str(K)]["evidence"]["candidates"]}
    times = [make_grid(name, schedule, K).times for name in names]
    assert len(set(times)) == len(times)
    assert names <= GRIDS.keys()


def test_a_sampler_of_times_that_do_not_fit(tuned: tuple[Path, Json]) -> None:
    samplers = Samplers(RunFolder(tuned[0]), load_mean(tuned[0] / "mean.safetensors"))
    with pytest.raises(UsageError, match="the recipe lists 2 times, and 3 steps were asked for"):
        samplers.sampler(Recipe(grid=(1, 50)), 3)


# --- starts below T


def test_starts_are_searched_where_the_images_are_known(run: Path) -> None:
    """And not where nobody wants them, or where the run does not know its images, which it says."""
    mean = load_mean(run / "mean.safetensors")
    told = Recorder()
    space = search_space(Samplers(RunFolder(run), mean), told)
    assert space.last == mean.model.schedule.T
    assert search_space(Samplers(RunFolder(run), mean), told, starts=False).last is None
    assert not told.notes
    (run / "image-gaussian.safetensors").unlink(missing_ok=True)
    assert search_space(Samplers(RunFolder(run), mean), told).last is None
    assert told.notes[-1].startswith("without starts below T: a start below T needs a Gaussian of the images and none")


def test_a_recipe_with_a_start_is_bound_to_the_images(run: Path, refused: Refused) -> None:
    samplers = Samplers(RunFolder(run), load_mean(run / "mean.safetensors"))
    recipe = Recipe("deis", order=3, start=20)
    made_of = samplers.made_of(recipe)
    assert made_of.keys() == {"image-gaussian.safetensors"}
    written(run, recipe, made_of={"image-gaussian.safetensors": "0" * 64})
    message = refused(3, "sample", "--run", run, "--recipe", RunFolder(run).recipe(K))
    assert "was tuned with another image-gaussian.safetensors than this run holds" in message
