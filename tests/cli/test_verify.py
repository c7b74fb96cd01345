"""``inspect --verify``: every digest recomputed, every changed byte named, and the way from a sheet to the data."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from conftest import FEW_KNOTS, TINY, Cli
from diffcov.store.checkpoint import load_mean

BEFORE = Path(__file__).parents[1] / "assets" / "run-of-before"
Links = dict[str, tuple[str, str]]


def found(cli: Cli, code: int, *args: object) -> Links:
    """Link -> (state, what was said), of a run of the command that must end with a code."""
    result = cli("inspect", "--verify", *args, "--json")
    assert result.exit_code == code, result.stderr
    report = json.loads(result.stdout)
    assert report["whole"] == (code == 0)
    links: Links = {}
    for one in report["links"]:
        state = one["state"] if links.get(one["link"], ("ok",))[0] == "ok" else links[one["link"]][0]
        links[one["link"]] = (state, one["said"])
    return links


def flip(path: Path, place: int) -> None:
    """Another lowest bit of one byte; a negative place counts from the end."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.fixture(scope="module")
def drawn(finished: Path, tmp_path_factory: pytest.TempPathFactory, cli: Cli) -> Path:
    """A run with a set of samples, a grid, a comparison, a reference, a scale and a recipe. Read only."""
    run = tmp_path_factory.mktemp("drawn") / "run"
    shutil.copytree(finished, run)
    for words in (
        ["sample", "--steps", 3, "--count", 4, "--covariance", "npr", "--format", "npz,folder"],
        ["trajectory", "--covariance", "corrected", "--images", 2],
        ["evaluate", "--metrics", "distances", "--count", 70, "--steps", 1, "--features", "pixels"],
        ["compare", "--count", 0, "--images", 4, "--steps", "2,3", "--covariance", "small"],
        ["sample", "--steps", 2, "--count", 1, "--covariance", "small", "--eps-scale", "fitted"],
        ["tune", "--steps", 2, "--few", 16, "--count", 64, "--no-starts", "--minutes", 0.02, "--features", "spectrum"],
    ):
        result = cli(*words, "--run", run)
        assert result.exit_code == 0, (words, result.stderr)
    return run


@pytest.fixture
def run(drawn: Path, tmp_path: Path) -> Path:
    return shutil.copytree(drawn, tmp_path / "run")


def test_a_whole_run(cli: Cli, drawn: Path) -> None:
    links = found(cli, 0, drawn)
    assert {state for state, _ in links.values()} == {"ok"}
    set_ = "samples/npr-ddpm-even3-seed0"
    for name in (
        "mean.safetensors", "variance.safetensors", "variance.safetensors -> mean.safetensors", "head-npr.safetensors",
        "head-banded.safetensors -> spectrum.safetensors", "trajectory-corrected.safetensors",
        "trajectory-corrected.safetensors -> variance.safetensors", "state/mean.safetensors", "state/heads.safetensors",
        "recipes/2.json", "compare/compare.json -> mean.safetensors", f"{set_}/grid.png", f"{set_}/samples.npz",
        f"{set_}/images/000003.png", f"{set_}/manifest.json", f"{set_}/manifest.json -> sampler",
    ):  # fmt: skip
        assert name in links, name
    assert any(name.startswith("reference-pixels-") for name in links)
    assert any(name.startswith("eps-scale/") for name in links)
    assert any(name.startswith("compare/parts/") for name in links)
    (data,) = (said for name, said in links.items() if "-> digits (train)" in name and "mean.safetensors" in name)
    assert data[1].startswith("1500 images have the digest")
    plain = cli("inspect", "--verify", drawn)
    assert plain.stdout.splitlines()[-1] == f"whole: {len(set(plain.stdout.splitlines())) - 1} links hold"


def files(run: Path) -> list[str]:
    """Everything that a digest guards, one of each kind."""
    kinds = [
        "mean.safetensors", "variance.safetensors", "spectrum.safetensors", "matrices.safetensors",
        "image-gaussian.safetensors", "head-npr.safetensors", "head-banded.safetensors",
        "trajectory-corrected.safetensors", "state/mean.safetensors", "state/heads.safetensors", "recipes/2.json",
        "samples/npr-ddpm-even3-seed0/grid.png", "samples/npr-ddpm-even3-seed0/samples.npz",
        "samples/npr-ddpm-even3-seed0/manifest.json", "samples/npr-ddpm-even3-seed0/images/000002.png",
    ]  # fmt: skip
    rest = [
        sorted(run.glob(pattern))[0] for pattern in ("reference-*.npz", "eps-scale/*", "compare/parts/*.safetensors")
    ]
    return kinds + [path.relative_to(run).as_posix() for path in rest]


def target(run: Path, path: Path) -> Path:
    """The smallest thing that can be verified and holds a file."""
    if path.is_relative_to(run / "samples"):
        return run / "samples" / path.relative_to(run / "samples").parts[0]
    alone = path.suffix != ".npz" and "compare" not in path.parts
    return path if alone else run


def require_named(cli: Cli, run: Path, name: str, place: int) -> None:
    path = run / name
    whole = path.read_bytes()
    flip(path, place)
    links = found(cli, 3, target(run, path))
    assert next(link for link, (state, _) in links.items() if state == "changed").endswith(path.name), (name, place)
    path.write_bytes(whole)


def test_one_flipped_byte_is_named_in_each(cli: Cli, run: Path) -> None:
    for name in files(run):
        content = (run / name).read_bytes()
        # The last digit of a number in JSON may be another of the same number: nothing has changed then.
        numbers = content.index(b'"steps": ') + 9 if name.endswith(".json") else len(content) // 2
        require_named(cli, run, name, numbers)
    assert found(cli, 0, run)


@pytest.mark.slow
def test_one_flipped_byte_is_named_in_headers_and_at_ends(cli: Cli, run: Path) -> None:
    for name in files(run):
        if not name.startswith("reference"):  # the last bytes of a zip are its directory's
            require_named(cli, run, name, -2)
        if name.endswith(".safetensors"):
            require_named(cli, run, name, 8 + int.from_bytes((run / name).read_bytes()[:8], "little") // 2)


def test_every_place_of_a_table(cli: Cli, full_run: Path) -> None:
    path = full_run / "variance.safetensors"
    whole = path.read_bytes()
    places = [*range(0, len(whole), len(whole) // 16)]
    for place in places:
        flip(path, place)
        result = cli("inspect", "--verify", path)
        assert result.exit_code in (3, 4), place
        assert f"{path} is not what it says: variance.safetensors is changed: " in result.stderr
        path.write_bytes(whole)


def test_from_a_sheet_to_the_data(cli: Cli, run: Path) -> None:
    """In the order in which each rests on the next."""
    out = run / "samples" / "npr-ddpm-even3-seed0"
    links = found(cli, 0, out)
    assert [name for name in links if "images/" not in name] == [
        "grid.png", "grid.png -> manifest.json", "manifest.json", "samples.npz", "manifest.json -> sampler",
        "head-npr.safetensors", "sampler -> head-npr.safetensors", "mean.safetensors",
        "head-npr.safetensors -> mean.safetensors", f"sampler -> {run}/mean.safetensors",
        "head-npr.safetensors, mean.safetensors -> digits (train)",
    ]  # fmt: skip
    assert found(cli, 0, out / "grid.png") == links


def test_a_sheet_that_was_passed_on(cli: Cli, run: Path, tmp_path: Path) -> None:
    """It knows its sampler; with a run at hand it is followed to the data, without one the mean is missing."""
    sheet = tmp_path / "elsewhere" / "sheet.png"
    sheet.parent.mkdir()
    shutil.copy(run / "samples" / "npr-ddpm-even3-seed0" / "grid.png", sheet)
    assert found(cli, 3, sheet)["sampler -> mean.safetensors"][0] == "missing"
    links = found(cli, 0, sheet, "--run", run)
    assert links["sheet.png"][1] == "its pixels are those that were drawn"
    assert links["sheet.png -> sampler"][0] == "ok"
    assert links["sampler -> head-npr.safetensors"][0] == "ok"
    assert "head-npr.safetensors, mean.safetensors -> digits (train)" in links


def test_another_mean_in_the_run(cli: Cli, run: Path, stranger: Path) -> None:
    words = ["--steps", 3, "--count", 2, "--covariance", "npr", "--seed", 5]
    assert cli("sample", "--run", run, *words).exit_code == 0
    own = load_mean(run / "mean.safetensors").digest[:12]
    shutil.copy(stranger / "mean.safetensors", run)
    out = run / "samples" / "npr-ddpm-even3-seed5"
    links = found(cli, 3, out)
    assert links[f"sampler -> {run}/mean.safetensors"][0] == "changed"
    assert links["head-npr.safetensors -> mean.safetensors"][0] == "changed"
    assert links["grid.png"][0] == "ok"
    said = cli("inspect", "--verify", out).stderr
    assert own in said
    assert load_mean(stranger / "mean.safetensors").digest[:12] in said


def test_a_table_that_was_measured_again(cli: Cli, run: Path) -> None:
    words = ["--samples", 2, *FEW_KNOTS, "--seed", 8, "--force"]
    assert cli("estimate-var", "--run", run, *words).exit_code == 0
    links = found(cli, 3, run)
    for link in (
        "trajectory-corrected.safetensors -> variance.safetensors", "head-banded.safetensors -> spectrum.safetensors",
    ):  # fmt: skip
        assert links[link][0] == "changed"
        assert "made of another" in links[link][1]


def test_what_is_gone_is_missing(cli: Cli, run: Path) -> None:
    out = run / "samples" / "npr-ddpm-even3-seed0"
    (out / "images" / "000001.png").unlink()
    (out / "images" / "stray.png").write_bytes(b"x")
    (run / "spectrum.safetensors").unlink()
    links = found(cli, 3, run)
    assert links[f"samples/{out.name}/images/000001.png"][0] == "missing"
    assert links[f"samples/{out.name}/images/stray.png"][0] == "unknown"
    assert links["spectrum.safetensors"][0] == "missing"
    (out / "grid.png").unlink()
    assert found(cli, 3, out)["grid.png"][0] == "missing"


def test_a_sheet_of_other_samples_beside_the_manifest(cli: Cli, run: Path) -> None:
    out = run / "samples" / "npr-ddpm-even3-seed0"
    other = next(path for path in (run / "samples").iterdir() if path.name != out.name and path.is_dir())
    shutil.copy(other / "grid.png", out)
    state, said = found(cli, 3, out)["grid.png -> manifest.json"]
    assert (state, said) == ("changed", "the sheet says another sampler than the manifest")


def test_numbers_that_are_none_have_a_code_of_their_own(cli: Cli, run: Path) -> None:
    """A head that was written with NaN has the digest that it says."""
    path = run / "head-npr.safetensors"
    tensors = load_file(path)
    name = next(iter(tensors))
    with safe_open(path, framework="pt") as opened:
        header = dict(opened.metadata())
    tensors[name] = torch.full_like(tensors[name], float("nan"))
    from diffcov.digest import digest_of_tensors

    header["digest"] = digest_of_tensors(tensors)
    del header["metadata_digest"]
    save_file(tensors, path, metadata=header)
    state, said = found(cli, 4, path)["head-npr.safetensors"]
    assert state == "changed"
    assert "holds NaN or infinity" in said


# --- the data


@pytest.fixture
def pictured(cli: Cli, tmp_path: Path) -> Path:
    """A run trained on a file of images beside it."""
    images = tmp_path / "images.npy"
    np.save(images, np.random.default_rng(0).integers(0, 256, (12, 8, 8, 1), dtype=np.uint8))
    words = ["--preset", "small", *TINY, "--iterations", 1, "--preview-minutes", 0]
    result = cli("train-mean", "--run", tmp_path / "run", "--data", images, *words)
    assert result.exit_code == 0, result.stderr
    return tmp_path / "run"


def test_images_that_changed_moved_or_went(cli: Cli, pictured: Path, tmp_path: Path) -> None:
    images = tmp_path / "images.npy"
    link = f"mean.safetensors -> {images} (train)"
    assert found(cli, 0, pictured)[link][0] == "ok"
    flip(images, -1)
    state, said = found(cli, 3, pictured)[link]
    assert state == "changed"
    assert "not the images that were recorded" in said
    flip(images, -1)
    moved = images.rename(tmp_path / "moved.npy")
    state, said = found(cli, 0, pictured)[link]
    assert (state, said[:30]) == ("unknown", "not looked at: not there; say ")
    assert found(cli, 0, pictured, "--data", moved)[f"mean.safetensors -> {moved} (train)"][0] == "ok"
    assert "no such file or folder" in found(cli, 3, pictured, "--data", images)[link][1]


# --- what came before


def test_a_run_of_before_is_whole_as_far_as_it_says(cli: Cli, tmp_path: Path) -> None:
    run = shutil.copytree(BEFORE, tmp_path / "run")
    links = found(cli, 0, run)
    unknown = {name: said for name, (state, said) in links.items() if state != "ok"}
    ((name, said),) = unknown.items()
    assert name.startswith("settings of mean.safetensors, variance.safetensors")
    assert "whatever writes them again adds it" in said
    flip(run / "head-sn.safetensors", -1)
    assert found(cli, 3, run)["head-sn.safetensors"][0] == "changed"
    assert cli("estimate-var", "--run", run, "--add", "--samples", 1, "--knot-samples", 1).exit_code == 0
    assert "variance.safetensors" not in next(name for name in found(cli, 3, run) if name.startswith("settings of"))


def test_a_sheet_of_before_has_no_provenance_inside(cli: Cli, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), dtype=np.uint8)).save(tmp_path / "grid.png")
    assert found(cli, 0, tmp_path / "grid.png") == {
        "grid.png": ("unknown", "no provenance inside: drawn by an earlier version, or by something else"),
        "sampler": ("unknown", "nothing says how these were drawn"),
    }
    assert "no provenance inside" in cli("inspect", tmp_path / "grid.png").stdout


def test_a_set_of_before(cli: Cli, run: Path) -> None:
    out = run / "samples" / "npr-ddpm-even3-seed0"
    manifest = json.loads((out / "manifest.json").read_text())
    del manifest["files"], manifest["digest"]
    (out / "manifest.json").write_text(json.dumps(manifest))
    links = found(cli, 0, out)
    assert (links["manifest.json"][0], links["files"][0]) == ("unknown", "unknown")
    assert links["sampler -> head-npr.safetensors"][0] == "ok"


@pytest.mark.parametrize(
    "manifest",
    [
        {}, {"sampler": 3}, {"sampler": {"mean": 5, "covariance": {"made_of": 3}}},
        {"files": {"../../run/log.jsonl": "x"}},
        {"files": [], "digest": 3, "mean": {"path": 4}, "sampler": {"mean": "x"}},
    ],
)  # fmt: skip
def test_hostile_manifests(cli: Cli, run: Path, manifest: dict[str, Any]) -> None:
    """One sentence, whatever they say; nothing outside of the set is read for them."""
    out = run / "samples" / "npr-ddpm-even3-seed0"
    (out / "manifest.json").write_text(json.dumps(manifest))
    for words in ([], ["--verify"], ["--all"]):
        assert cli("inspect", out, *words).exit_code in (0, 3)


# --- refusals


def test_images_are_not_verified(refused: Callable[..., str]) -> None:
    said = refused(2, "inspect", "digits", "--verify")
    assert said.startswith("--verify and --data are about what diffcov wrote, and digits holds images")


def test_data_is_for_verify(refused: Callable[..., str], mean_run: Path) -> None:
    said = refused(2, "inspect", mean_run, "--data", "digits")
    assert said == "--data says where the images are that digests are recomputed of; add --verify"


def test_nothing_there(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "no such file or run" in refused(3, "inspect", "--verify", tmp_path / "absent")
