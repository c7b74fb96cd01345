"""``evaluate``: the bound and its parts, the images it takes, distances, calibration, exposure, and what it refuses."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diffcov.covariance import registry
from diffcov.engines.recipe import Recipe
from diffcov.store.checkpoint import load_mean
from diffcov.store.datasets import load_images
from diffcov.store.head import load_head, save_head
from diffcov.store.recipes import RecipeFile, save_recipe
from diffcov.study.paired import PAIRED
from oracles.offered import OF_ANY_MEAN

Json = dict[str, Any]


@pytest.fixture(scope="module")
def run(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that may also hold reference statistics. No test changes its other files."""
    return shutil.copytree(finished, tmp_path_factory.mktemp("evaluate") / "run")


@pytest.fixture(scope="module")
def bounds(done: Callable[..., Json], run: Path) -> Json:
    return done("evaluate", "--run", run, "--covariance", "all", "--steps", 5, "--images", 20)


@pytest.fixture(scope="module")
def measured(done: Callable[..., Json], run: Path) -> Json:
    """Everything at once, of two covariances."""
    return done(
        "evaluate", "--run", run, "--metrics", "exposure,nll,calibration,distances", "--covariance", "npr,small",
        "--features", "pixels", "--count", 70, "--steps", 3, "--images", 20,
    )  # fmt: skip


def bits(found: Json) -> dict[str, float]:
    return {name: one["bits_per_dim"] for name, one in found["nll"].items()}


def set_head(run: Path, kind: str, value: float) -> None:
    """Make a head predict one number everywhere: moved by addition, from 0, by a last layer of that bias alone."""
    path = run / f"head-{kind}.safetensors"
    found = load_head(path)
    spec = replace(found.spec, link="identity")
    head = spec.build()
    last = head.network.layers if spec.network == "bands" else head.network.out
    with torch.no_grad():
        assert not last[-1].weight.any()
        last[-1].bias.fill_(value)
    save_head(path, head, spec, load_mean(run / "mean.safetensors").spec.reading, found.trunk, found.training)


# --- likelihood


def test_parts_add_up_for_every_covariance_in_the_registry_s_order(bounds: Json) -> None:
    assert list(bounds["nll"]) == list(OF_ANY_MEAN)
    for found in bounds["nll"].values():
        parts = [found[part] for part in ("prior", "transitions", "decoder")]
        assert sum(parts) == pytest.approx(found["bits_per_dim"], rel=1e-9)
        assert all(part >= 0 for part in parts)
        assert sum(step["bits_per_dim"] for step in found["steps"]) == pytest.approx(found["transitions"], rel=1e-9)
        pairs = [(step["s"], step["t"]) for step in found["steps"]]
        assert pairs == [(1, 13), (13, 26), (26, 38), (38, 50)]
        assert found["stderr"] > 0
        shares = [step["floor_share"] for step in found["steps"]]
        assert found["floor_share"] == pytest.approx(sum(shares) / 4)


def test_prior_and_decoder_know_nothing_of_the_covariance(done: Callable[..., Json], run: Path, bounds: Json) -> None:
    for part in ("prior", "decoder"):
        assert len({found[part] for found in bounds["nll"].values()}) == 1
    # So early that no variance of this poor mean is clipped to its bound.
    words = ["--covariance", "all", "--grid", "1,2,4,6", "--images", 20]
    early = done("evaluate", "--run", run, *words)
    assert len(set(bits(early).values())) == len(OF_ANY_MEAN), "transitions do"
    assert bounds["nll"]["small"]["floor_share"] == 1
    assert bounds["nll"]["large"]["floor_share"] == 0


def test_the_record_says_what_was_measured(bounds: Json, run: Path) -> None:
    assert bounds["mean"]["digest"] == load_mean(run / "mean.safetensors").digest
    assert (bounds["solver"], bounds["eta"], bounds["grid"]) == ("ddpm", 1.0, "even")
    assert (bounds["steps"], bounds["times"], bounds["seed"]) == (5, [1, 13, 26, 38, 50], 0)
    assert bounds["made_of"]["npr"] == {"head-npr.safetensors": load_head(run / "head-npr.safetensors").digest}
    assert bounds["made_of"]["small"] == {}
    assert (bounds["clip_x0"], bounds["eps_scale"], bounds["guidance"]) == (True, 1.0, 1.0)
    assert bounds["measured_at_this_guidance"] == dict.fromkeys(OF_ANY_MEAN, True)
    assert {"distances", "calibration", "exposure"}.isdisjoint(bounds), "only what was asked for"


def test_stdout_and_stderr(cli: Any, run: Path, bounds: Json) -> None:
    result = cli("evaluate", "--run", run, "--covariance", "sn,analytic,sn", "--steps", 5, "--images", 20)
    assert result.exit_code == 0
    expected = [f"{name}\tbits/dim\t{bits(bounds)[name]:.6f}" for name in ("analytic", "sn")]
    assert result.stdout.splitlines() == expected
    assert "evaluating on 20 images of the test split of digits" in result.stderr


def test_a_covariance_alone_is_what_it_is_among_others(done: Callable[..., Json], run: Path, bounds: Json) -> None:
    found = done("evaluate", "--run", run, "--covariance", "small,analytic", "--steps", 5, "--images", 20)
    assert list(found["nll"]) == ["small", "analytic"]
    for name, one in found["nll"].items():
        among = bounds["nll"][name]
        assert {key: among[key] for key in one.keys() - PAIRED} == {key: one[key] for key in one.keys() - PAIRED}
    assert found["nll"]["analytic"]["difference"] is None
    apart = found["nll"]["small"]["bits_per_dim"] - found["nll"]["analytic"]["bits_per_dim"]
    assert found["nll"]["small"]["difference"] == pytest.approx(apart)


@pytest.mark.parametrize("size", [1, 7, 64])
def test_batches_change_nothing(done: Callable[..., Json], run: Path, bounds: Json, size: int) -> None:
    words = ["evaluate", "--run", run, "--covariance", "all", "--steps", 5, "--images", 20, "--batch-size", size]
    assert bits(done(*words)) == pytest.approx(bits(bounds), rel=1e-5)


def test_the_seed_changes_the_noise_alone(done: Callable[..., Json], run: Path, bounds: Json) -> None:
    found = done("evaluate", "--run", run, "--covariance", "large", "--steps", 5, "--images", 20, "--seed", 1)
    assert found["images"] == bounds["images"]
    assert found["nll"]["large"]["prior"] == bounds["nll"]["large"]["prior"]
    assert found["nll"]["large"]["transitions"] != bounds["nll"]["large"]["transitions"]


def test_one_image_in_one_step(done: Callable[..., Json], run: Path) -> None:
    found = done("evaluate", "--run", run, "--covariance", "small,large", "--steps", 1, "--images", 1)
    for one in found["nll"].values():
        assert one["stderr"] is None
        assert (one["transitions"], one["floor_share"], one["steps"]) == (0, 0, [])
    assert bits(found)["small"] == bits(found)["large"]


def test_no_clip_arrives(done: Callable[..., Json], run: Path, bounds: Json) -> None:
    found = done("evaluate", "--run", run, "--covariance", "large", "--steps", 5, "--images", 20, "--no-clip-x0")
    assert found["clip_x0"] is False
    assert bits(found)["large"] > bits(bounds)["large"], "the clip brings x0_hat nearer to every image"


def test_ddim_with_all_its_noise_is_not_ddpm(refused: Callable[..., str], run: Path) -> None:
    """Its mean keeps eps_hat as predicted where x0_hat was clipped, so the chain's bound is not its own."""
    message = refused(2, "evaluate", "--run", run, "--covariance", "large", "--solver", "ddim", "--eta", 1)
    assert "ddim-eta1 has no bound on the likelihood: the bound is that of the Markov chain (ddpm)" in message


@pytest.mark.parametrize("value", [-1.0, 1e-6])
def test_the_caution_about_a_floor(cli: Any, done: Callable[..., Json], full_run: Path, value: float) -> None:
    """Heads at one number: below 0 all variances lie at the floor, at 1e-6 those of sn where eps_hat^2 is more."""
    for kind in registry.heads():
        set_head(full_run, kind, value)
    words = ["evaluate", "--run", full_run, "--covariance", "all", "--steps", 5, "--images", 8]
    found, said = done(*words)["nll"], cli(*words).stderr
    shares = {name: one["floor_share"] for name, one in found.items()}
    for name in set(registry.heads()) - {"sn"}:
        assert shares[name] == (1 if value < 0 else 0), name
    assert shares["sn"] == 1 if value < 0 else 0.01 < shares["sn"] < 1
    warned = [line for line in said.splitlines() if line.startswith("warning: ")]
    expected = []
    for name, share in shares.items():
        caution = registry.load(name).likelihood_caution
        if caution is not None and share > 0.01:
            expected.append(f"warning: {name}: {100 * share:.0f} % of the variances lie at the lower bound; {caution}")
    assert warned == expected
    assert any(line.startswith("warning: sn: ") for line in warned)
    assert not any(line.startswith("warning: small") for line in warned), "small is at the floor by definition"


def test_no_caution_where_nothing_lies_at_the_floor(cli: Any, full_run: Path) -> None:
    set_head(full_run, "sn", 1000.0)
    result = cli("evaluate", "--run", full_run, "--covariance", "sn,small", "--steps", 3, "--images", 4)
    assert result.exit_code == 0
    assert "warning" not in result.stderr


# --- images


def test_splits_are_other_images(cli: Any, done: Callable[..., Json], run: Path) -> None:
    words = ["evaluate", "--run", run, "--covariance", "large", "--steps", 2, "--images", 12]
    default, test, train = (done(*words, *more) for more in ([], ["--split", "test"], ["--split", "train"]))
    assert default == test
    for found, split in ((test, "test"), (train, "train")):
        images = load_images("digits", 12, split)
        assert found["images"] == images.provenance(12)
        assert (found["images"]["split"], found["images"]["digest"]) == (split, images.digest())
    assert train["images"]["digest"] != test["images"]["digest"]
    assert bits(train) != bits(test)
    assert "split" in cli(*words).stderr
    assert "split" not in cli(*words, "--split", "train").stderr, "nothing to say where it was asked for"


def test_other_images_of_the_kind(cli: Any, done: Callable[..., Json], tmp_path: Path) -> None:
    """Files have 256 levels, so the mean is trained on one; a file without a test split gives its only one."""
    draw = np.random.default_rng(0)
    for name in ("own", "other"):
        np.savez(tmp_path / f"{name}.npz", arr_0=draw.integers(0, 256, (12, 8, 8, 1), dtype=np.uint8))
    run = tmp_path / "run"
    trained = cli(
        "train-mean", "--run", run, "--data", tmp_path / "own.npz", "--channels", 8, "--multipliers", "1",
        "--blocks", 1, "--heads", 1, "--attention", "none", "--timesteps", 50, "--batch-size", 8, "--iterations", 1,
    )  # fmt: skip
    assert trained.exit_code == 0, trained.stderr
    words = ["evaluate", "--run", run, "--covariance", "large", "--steps", 2]
    own, other = done(*words), done(*words, "--data", tmp_path / "other.npz")
    assert own["images"]["digest"] == load_images(str(tmp_path / "own.npz")).digest()
    assert other["images"]["digest"] == load_images(str(tmp_path / "other.npz")).digest()
    assert other["images"]["source"] == str(tmp_path / "other.npz")
    assert bits(own) != bits(other)
    said = cli(*words).stderr
    assert "evaluating on 12 images of the train split" in said
    assert "no test split, and these were trained on" in said
    assert "trained on" not in cli(*words, "--data", tmp_path / "other.npz").stderr


# --- distances, calibration, exposure


def test_metrics_asked_together_are_those_asked_alone(done: Callable[..., Json], run: Path, measured: Json) -> None:
    words = ["evaluate", "--run", run, "--covariance", "npr,small", "--steps", 3, "--images", 20]
    drawing = ["--count", 70]
    sampling = ["--features", "pixels", *drawing]
    for metric, more in (("nll", []), ("calibration", []), ("distances", sampling), ("exposure", drawing)):
        assert done(*words, "--metrics", metric, *more)[metric] == measured[metric], metric


def test_exposure_alone_needs_no_feature_space(done: Callable[..., Json], run: Path) -> None:
    """So it wants no more samples than one, and no classifier."""
    words = ["evaluate", "--run", run, "--covariance", "npr", "--steps", 3, "--images", 5, "--count", 2]
    assert "distances" not in done(*words, "--metrics", "exposure")


def test_distances(cli: Any, run: Path, measured: Json) -> None:
    found = measured["distances"]
    assert (found["label"], found["features"]) == ("@70 pixels", "pixels")
    assert found["reference"] == {"count": 1500, "source": "digits"}
    assert list(found["covariances"]) == ["small", "npr"]
    for one in found["covariances"].values():
        assert one["count"] == 70
        assert one["fid"] > 0
        assert 0 <= one["precision"] <= 1
        assert 0 <= one["recall"] <= 1
    assert found["covariances"]["small"]["fid"] != found["covariances"]["npr"]["fid"]
    result = cli(
        "evaluate", "--run", run, "--metrics", "distances", "--covariance", "npr", "--features", "pixels",
        "--count", 70, "--steps", 3,
    )  # fmt: skip
    values = found["covariances"]["npr"]
    names = ("fid", "kid", "precision", "recall")
    assert result.stdout.splitlines() == [f"npr\t{key}@70 pixels\t{values[key]:.6g}" for key in names]


def test_distances_need_no_likelihood(done: Callable[..., Json], run: Path) -> None:
    found = done(
        "evaluate", "--run", run, "--metrics", "distances", "--solver", "ddim", "--covariance", "analytic",
        "--features", "pixels", "--count", 70, "--steps", 2,
    )  # fmt: skip
    assert (found["solver"], found["eta"]) == ("ddim", 0.0)
    assert "nll" not in found
    assert "images" not in found, "no image was evaluated"
    assert found["distances"]["covariances"]["analytic"]["fid"] > 0


def test_the_second_call_reads_the_kept_reference(cli: Any, full_run: Path) -> None:
    words = ["evaluate", "--run", full_run, "--metrics", "distances", "--covariance", "small", "--features", "pixels"]
    first = cli(*words, "--count", 70, "--steps", 2)
    (kept,) = full_run.glob("reference-pixels-*.npz")
    before = (kept.stat().st_mtime_ns, kept.stat().st_ino)
    second = cli(*words, "--count", 70, "--steps", 2)
    assert (kept.stat().st_mtime_ns, kept.stat().st_ino) == before
    assert first.stdout == second.stdout != ""
    with np.load(kept) as found:
        pixels = load_images("digits").images.double().flatten(1) * (2 / 16) - 1
        assert np.allclose(found["mu"], pixels.mean(0), atol=1e-6)
        assert np.allclose(found["sigma"], pixels.T.cov(), atol=1e-6)


def test_given_statistics_have_no_kernel_distance(done: Callable[..., Json], full_run: Path, tmp_path: Path) -> None:
    words = ["evaluate", "--run", full_run, "--metrics", "distances", "--covariance", "small", "--features", "pixels"]
    words += ["--count", 70, "--steps", 2]
    own = done(*words)["distances"]["covariances"]["small"]
    (kept,) = full_run.glob("reference-pixels-*.npz")
    with np.load(kept) as found:
        np.savez(tmp_path / "same.npz", mu=found["mu"], sigma=found["sigma"])
        np.savez(tmp_path / "shifted.npz", mu=found["mu"] + 1, sigma=found["sigma"])
    same = done(*words, "--reference", tmp_path / "same.npz")["distances"]
    assert same["reference"] == {"count": 0, "source": str(tmp_path / "same.npz")}
    fid = {key: pytest.approx(own[key], rel=1e-9) for key in ("fid", "fid_stderr")}
    expected = {"count": 70, **fid, "kid": None, "precision": None, "recall": None}
    assert same["covariances"]["small"] == expected
    shifted = done(*words, "--reference", tmp_path / "shifted.npz")["distances"]["covariances"]["small"]
    assert abs(shifted["fid"] - own["fid"]) > 1, "the file's numbers are the ones compared with"


def test_no_lines_for_distances_that_there_are_not(cli: Any, full_run: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "plain.npz", mu=np.zeros(64), sigma=np.eye(64))
    result = cli(
        "evaluate", "--run", full_run, "--metrics", "distances", "--covariance", "small", "--features", "pixels",
        "--count", 70, "--steps", 2, "--reference", tmp_path / "plain.npz",
    )  # fmt: skip
    (line,) = result.stdout.splitlines()
    assert line.startswith("small\tfid@70 pixels\t")


def test_calibration_of_no_variance_is_null(cli: Any, run: Path, measured: Json) -> None:
    found = measured["calibration"]
    assert found["times"] == [1, 26, 50]
    small, npr = found["covariances"]["small"], found["covariances"]["npr"]
    assert small["ratio"] == [None] * 3
    assert small["by_band"] == [[None] * len(found["bands"])] * 3
    assert small["rms_log"] is None
    assert small["floor_share"] == [1.0] * 3
    assert all(value > 0 for value in npr["ratio"])
    assert len(npr["by_quantile"][0]) == 5
    logs = [math.log(value) for row in npr["by_band"] for value in row if value]
    assert npr["rms_log"] == pytest.approx(math.sqrt(sum(x * x for x in logs) / len(logs)))
    words = ["--metrics", "calibration", "--covariance", "npr,small", "--steps", 3, "--images", 20]
    result = cli("evaluate", "--run", run, *words)
    assert result.stdout.splitlines() == [f"npr\trms log calibration\t{npr['rms_log']:.6f}"]


def test_exposure(cli: Any, run: Path, measured: Json) -> None:
    """All seeds start at T from the same noise, so the sampled path begins with one norm for all covariances."""
    found = measured["exposure"]
    assert found["times"] == [1, 26, 50]
    assert list(found["sampled"]) == ["small", "npr"]
    small, npr = found["sampled"]["small"], found["sampled"]["npr"]
    assert small[2] == npr[2]
    assert small[0] != npr[0]
    result = cli(
        "evaluate", "--run", run, "--metrics", "exposure", "--covariance", "npr,small", "--features", "pixels",
        "--count", 70, "--steps", 3, "--images", 20,
    )  # fmt: skip
    expected = [
        f"{name}\teps_hat mean-square ratio at {t}\t{norms[m] / found['forward'][m]:.6f}"
        for name, norms in found["sampled"].items()
        for m, t in enumerate(found["times"])
    ]
    assert result.stdout.splitlines() == expected


# --- refusals


def test_no_run(refused: Callable[..., str], tmp_path: Path) -> None:
    message = refused(3, "evaluate", "--run", tmp_path / "absent")
    assert "no mean model" in message
    assert f"diffcov train-mean --run {tmp_path / 'absent'}" in message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--solver", "ddim"],
            "ddim has no bound on the likelihood: its posterior has no variance; use --solver ddpm",
        ),
        (
            ["--solver", "ddim", "--eta", "0.5"],
            "ddim-eta0.5 has no bound on the likelihood: the bound is that of the Markov chain (ddpm)",
        ),
        (["--solver", "ddim", "--metrics", "calibration,nll"], "no bound on the likelihood"),
        (["--solver", "ode"], "unknown solver 'ode'; choose one of ddpm, ddim"),
        (["--guidance", "2"], "guidance needs a mean with classes, and this one has none"),
        (
            ["--metrics", "fid"],
            "--metrics takes nll, ode-nll, distances, calibration, exposure with commas between; found 'fid'",
        ),
        (["--metrics", "nll,"], "found ''"),
        (["--covariance", "best"], "unknown covariance 'best'; choose auto or one of small, large"),
        (["--covariance", "small,best"], "unknown covariance 'best'"),
        (["--steps", "51"], "steps must be between 1 and T=50 (got 51)"),
        (["--steps", "0"], "steps must be between 1 and T=50 (got 0)"),
        (["--grid", "cubic"], "--grid must be one of even, stride, quad, linspace, trailing, logsnr, edm, optimal"),
        (["--grid", "1,50", "--steps", "3"], "leave one out"),
        (["--metrics", "distances", "--solver", "ddim", "--covariance", "large"], "use --solver ddpm"),
        (["--metrics", "distances", "--features", "pixels", "--count", "63"], "in 64 dimensions needs"),
        (["--metrics", "distances", "--features", "cubes"], "choose auto, pixels, spectrum, classifier, inception"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_values_that_cannot_be(refused: Callable[..., str], mean_run: Path, options: list[str], words: str) -> None:
    assert words in refused(2, "evaluate", "--run", mean_run, *options)


@pytest.mark.parametrize("options", [["--images", "0"], ["--count", "0"], ["--batch-size", "0"], ["--split", "all"]])
def test_values_that_the_parser_refuses(unusable: Callable[..., str], mean_run: Path, options: list[str]) -> None:
    assert options[0] in unusable("evaluate", "--run", mean_run, *options)


def test_what_a_covariance_lacks(cli: Any, refused: Callable[..., str], mean_run: Path) -> None:
    message = refused(3, "evaluate", "--run", mean_run, "--covariance", "small,npr", "--steps", 2)
    assert message.endswith(f"run: diffcov fit-var-head --run {mean_run} --kind npr")
    message = refused(3, "evaluate", "--run", mean_run, "--covariance", "analytic", "--steps", 2)
    assert message.endswith(f"run: diffcov estimate-var --run {mean_run}")
    result = cli("evaluate", "--run", mean_run, "--covariance", "all", "--steps", 2, "--images", 2)
    assert [line.split("\t")[0] for line in result.stdout.splitlines()] == ["small", "large"]
    assert f"without npr: run diffcov fit-var-head --run {mean_run} --kind npr first" in result.stderr
    assert f"without corrected: run diffcov estimate-var --run {mean_run} first" in result.stderr


def test_images_of_another_kind(refused: Callable[..., str], mean_run: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "colour.npz", arr_0=np.zeros((4, 8, 8, 3), dtype=np.uint8))
    message = refused(3, "evaluate", "--run", mean_run, "--data", tmp_path / "colour.npz", "--steps", 2)
    assert f"{tmp_path / 'colour.npz'} holds images of 8x8, 3 channel(s)" in message
    assert "--data" in message
    np.savez(tmp_path / "finer.npz", arr_0=np.zeros((4, 8, 8, 1), dtype=np.uint8))
    message = refused(3, "evaluate", "--run", mean_run, "--data", tmp_path / "finer.npz", "--steps", 2)
    assert "256 grey levels" in message
    assert "17 grey levels" in message


def test_a_split_that_is_not_there(refused: Callable[..., str], mean_run: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", arr_0=np.zeros((4, 8, 8, 1), dtype=np.uint8))
    words = ["--data", tmp_path / "one.npz", "--split", "test", "--steps", 2]
    assert "has no test split" in refused(3, "evaluate", "--run", mean_run, *words)


def test_too_few_samples_are_refused_before_any_is_drawn(cli: Any, run: Path) -> None:
    words = ["--metrics", "nll,distances", "--features", "pixels", "--count", 63, "--steps", 50]
    result = cli("evaluate", "--run", run, *words)
    assert result.exit_code == 2
    assert "sample" not in result.stderr.split("error: ")[0]
    assert "forward path" not in result.stderr


def test_a_head_whose_numbers_are_none(refused: Callable[..., str], full_run: Path) -> None:
    set_head(full_run, "npr", math.nan)
    message = refused(4, "evaluate", "--run", full_run, "--covariance", "npr", "--steps", 2, "--images", 2)
    assert "NaN or infinity in network.out.2.bias" in message


# --- one sampler


RECIPE = Recipe("dpmpp", "spectral", "edm", order=2, weight=0.75, through="eps_hat", share=0.25, eps_scale=1.01)
OPTIONS = [
    "--solver", "dpmpp", "--covariance", "spectral", "--grid", "edm", "--order", 2, "--weight", 0.75,
    "--through", "eps_hat", "--share", 0.25, "--eps-scale", 1.01, "--steps", 4,
]  # fmt: skip
FEW = ["--features", "pixels", "--count", 70, "--images", 10]


def tuned(run: Path, recipe: Recipe, steps: int) -> Path:
    """A recipe of this run, as tune would leave it but for where."""
    path = run / f"mine-{recipe.solver}-{steps}.json"
    save_recipe(path, RecipeFile(recipe, steps, load_mean(run / "mean.safetensors").digest, {}, 1.0, {}))
    return path


def test_a_recipe_is_judged_as_its_options_are(done: Callable[..., Json], run: Path, cli: Any) -> None:
    path = tuned(run, RECIPE, 4)
    words = ["evaluate", "--run", run, "--metrics", "distances,exposure,calibration", *FEW]
    one, other = done(*words, "--recipe", path), done(*words, *OPTIONS)
    assert (one.pop("recipe"), one.pop("summary")) == (RECIPE.as_dict(), RECIPE.label)
    assert one == other
    assert (one["steps"], one["share"], one["eps_scale"]) == (4, 0.25, 1.01), "a tuned recipe knows its own number"
    said = cli("evaluate", "--run", run, "--metrics", "distances", *FEW, "--recipe", "dpmpp-3m", "--steps", 2).stderr
    assert "samples by dpmpp-3, even 2 steps" in said


def test_a_recipe_of_the_markov_chain_has_its_bound(done: Callable[..., Json], run: Path, bounds: Json) -> None:
    found = done("evaluate", "--run", run, "--recipe", "npr-ddpm", "--steps", 5, "--images", 20)
    assert bits(found) == {"npr": pytest.approx(bits(bounds)["npr"], rel=1e-9)}
    assert found["summary"] == "ddpm, npr"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--recipe", "dpmpp-2m"],
            "--metrics nll means nothing for the recipe dpmpp-2m: dpmpp has no bound on the likelihood (its posterior "
            "has no variance); leave it out",
        ),
        (
            ["--recipe", "ddpm-small", "--metrics", "nll,ode-nll"],
            "--metrics ode-nll means nothing for the recipe ddpm-small: the probability flow is the mean's own, and no "
            "solver, covariance or scale has a part in it; leave it out",
        ),
        (
            ["--recipe", "ddim", "--metrics", "calibration"],
            "--metrics calibration means nothing for the recipe ddim: it has no covariance to calibrate; leave it out",
        ),
        (["--recipe", "ddim", "--grid", "edm"], "a recipe decides --solver, --grid or their numbers: leave that out, "
         "or --recipe ddim"),
        (["--recipe", "ddim", "--covariance", "all"], "a recipe decides --covariance: leave that out, "
         "or --recipe ddim"),
        (["--recipe", "ddim", "--eps-scale", "2"], "a recipe decides --eps-scale or --clip-x0: leave that out, "
         "or --recipe ddim"),
        (["--recipe", "ddim", "--low-band", "0.1"], "a recipe decides --solver, --grid or their numbers"),
        (["--recipe", "euler"], "--recipe euler is no recipe and no file; choose one of ddpm-small"),
        (["--recipe", "dcw", "--metrics", "distances", "--steps", "51"], "steps must be between 1 and T=50 (got 51)"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_what_a_recipe_cannot_be_judged_by(
    refused: Callable[..., str], mean_run: Path, words: list[str], message: str
) -> None:
    assert refused(2, "evaluate", "--run", mean_run, *words).startswith(message)


@pytest.mark.parametrize("recipe", [Recipe("ddpm", eps_scale=1.01), Recipe("ddpm", "large", share=0.5)], ids=str)
def test_a_bound_is_not_that_of_a_changed_sampler(refused: Callable[..., str], mean_run: Path, recipe: Recipe) -> None:
    path = tuned(mean_run, recipe, 3)
    message = refused(2, "evaluate", "--run", mean_run, "--recipe", path)
    assert message == (
        f"--metrics nll means nothing for the recipe {path}: the bound is that of the whole covariance and of eps_hat "
        "as predicted, and it changes them; leave it out"
    )


def test_a_recipe_that_starts_below_T_is_judged_by_its_own_samples(done: Callable[..., Json], run: Path) -> None:
    """Not by those that the same times have from noise."""
    words = ["evaluate", "--run", run, "--metrics", "distances", *FEW, "--recipe"]
    found = done(*words, tuned(run, Recipe("ddim", start=21), 3))
    plain = done(*words, tuned(run, Recipe("ddim", grid=(1, 11, 21)), 3))
    assert found["times"] == plain["times"] == [1, 11, 21]
    assert found["distances"] != plain["distances"]


def test_a_start_by_options_is_that_of_a_recipe(done: Callable[..., Json], run: Path) -> None:
    words = ["evaluate", "--run", run, "--metrics", "distances,exposure", *FEW]
    chosen = ["--solver", "ddim", "--covariance", "small", "--start", 21, "--steps", 3]
    one, other = done(*words, "--recipe", tuned(run, Recipe("ddim", start=21), 3)), done(*words, *chosen)
    assert other["start"]["made_of"].keys() == {"image-gaussian.safetensors"}
    assert one.pop("recipe") and one.pop("summary")
    assert one == other


@pytest.mark.parametrize("metric", ["nll", "ode-nll"])
def test_likelihoods_are_not_those_of_walks_from_below_T(
    refused: Callable[..., str], mean_run: Path, metric: str
) -> None:
    message = refused(2, "evaluate", "--run", mean_run, "--metrics", metric, "--start", 20)
    assert message == (
        f"--metrics {metric} means nothing for --start 20: a likelihood is that of a walk which begins with noise; "
        "leave one out"
    )


def test_a_recipe_is_judged_in_the_steps_that_are_asked_for(done: Callable[..., Json], run: Path) -> None:
    """Else in those that it was found for."""
    words = ["evaluate", "--run", run, "--metrics", "distances", *FEW, "--recipe", tuned(run, Recipe("ddim"), 4)]
    assert (done(*words)["steps"], done(*words, "--steps", 2)["steps"]) == (4, 2)


def test_a_bound_is_not_that_of_a_walk_from_below_T(refused: Callable[..., str], mean_run: Path) -> None:
    path = tuned(mean_run, Recipe("ddpm", start=20), 3)
    message = refused(2, "evaluate", "--run", mean_run, "--recipe", path)
    assert message.endswith(": the bound is that of a chain which begins with noise; leave it out")


def test_what_a_recipe_needs_of_the_run(refused: Callable[..., str], mean_run: Path) -> None:
    words = ["evaluate", "--run", mean_run, "--metrics", "distances", "--steps", 2]
    message = refused(3, *words, "--recipe", "addim")
    assert message.endswith(f"none was found; run: diffcov estimate-var --run {mean_run}")
    message = refused(3, *words, "--recipe", "npr-ddim")
    assert message.endswith(f"run: diffcov fit-var-head --run {mean_run} --kind npr")
