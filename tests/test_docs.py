"""Every command and every program that the pages in docs/ show is run, in their order."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from diffcov.cli.app import app
from diffcov.nets.unet import UNet, UNetConfig
from diffcov.noise import NOISE
from oracles.foreign import scattered, tiny_pipeline
from oracles.published_head import head

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "your-own-model.md").read_text(encoding="utf-8")
ROOT = DOCS.parent
FEW = {
    "demo": ["--count", "66"],
    "train-mean": [
        "--iterations",
        "1",
        "--channels",
        "8",
        "--multipliers",
        "1",
        "--blocks",
        "1",
        "--attention",
        "none",
    ],
    "estimate-var": ["--samples", "1", "--knots", "4", "--knot-samples", "4"],
    "fit-var-head": ["--iterations", "1", "--batch-size", "8"],
    "import": ["--no-check"],
    "sample": ["--count", "2"],
    "evaluate": ["--images", "4", "--count", "66"],
    "trajectory": ["--images", "2"],
    "tune": ["--few", "16", "--count", "64", "--no-starts", "--minutes", "0.02"],
    "compare": ["--count", "0", "--images", "4"],
    "export": [],
}
"""What makes each command of the pages take a second or two."""


def typed(words: Sequence[str]) -> Result:
    """One command, which must succeed."""
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == 0, (words, result.stderr)
    return result


def typed_in_order(page: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Type every command that a page shows, variables too; returns the commands' names."""
    names = []
    for line in re.findall(r"^    (diffcov .+|export .+)$", page.read_text(encoding="utf-8"), flags=re.M):
        words = shlex.split(line, comments=True)
        if words[0] == "export":
            monkeypatch.setenv(*words[1].split("="))
            continue
        names.append(words[1])
        typed([*words[1:], *FEW[words[1]]])
    return names


def test_the_page_of_one_s_own_model_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_pipeline().save_pretrained("theirs")
    trunk = scattered(UNet(UNetConfig(1, 8, 8, channels=32, multipliers=(1,), blocks=1, attention=(), heads=4)))
    torch.save({**trunk.state_dict(), **head("simple", images=1)}, "published-npr.pth")
    torch.save(torch.linspace(0, 1, 1001), "ms_eps.pth")
    names = ["import", "estimate-var", "fit-var-head", "sample", "compare", "export", "import", "import", "export"]
    assert typed_in_order(DOCS / "your-own-model.md", monkeypatch) == names
    for line in re.findall(r"^    few-steps/(\S+)", PAGE, flags=re.M):
        assert (tmp_path / "few-steps" / line.rstrip(",")).exists(), line
    into_a_pipeline, from_python = re.findall(r"```python\n(.*?)```", PAGE, flags=re.S)
    exec(into_a_pipeline.replace("batch_size=16, num_inference_steps=10", "batch_size=2, num_inference_steps=2"), {})
    quick = from_python.replace('data="digits"', 'data="digits", check=False').replace(
        "samples=25", "samples=1, knots=4, knot_samples=4"
    )
    assert quick.count("=False") == 1
    exec(quick, {})


def test_the_page_of_several_processes_works(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command as one process runs it; tests/processes run them with two."""
    page = (DOCS / "several-processes.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, tmp_path / "runs" / "mine")
    commands = re.findall(r"^    (?:torchrun .* -m diffcov -- |diffcov )(.+)$", page, flags=re.M)
    assert len(commands) == 9
    shared = {
        **FEW, "tune": ["--few", "16", "--count", "64", "--no-starts", "--minutes", "0.02", "--features", "spectrum"],
        "train-mean": ["--resume", "--iterations", "3"],
    }  # fmt: skip
    for command in commands:
        words = shlex.split(command.replace(" --data photos.zip --size 32", "").replace("50000", "4"))
        smaller = [] if "--count" in words else shared[words[0]]
        typed([*words, *smaller])
    (from_python,) = re.findall(r"```python\n(.*?)```", page, flags=re.S)
    exec(from_python.replace("count=64", "count=2, force=True"), {})


DATA = (DOCS / "your-own-data.md").read_text(encoding="utf-8")
QUICK = {
    "inspect": [],
    "train-mean": ["--iterations", "1", "--channels", "8", "--blocks", "1", "--preview-minutes", "0"],
    "estimate-var": ["--samples", "1", "--knots", "4", "--knot-samples", "4"],
    "evaluate": ["--images", "2"],
}


def test_the_page_of_one_s_own_data_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for n, split in enumerate(("train", "val", "test")):
        for label in ("cat", "dog"):
            folder = tmp_path / "pets" / split / label
            folder.mkdir(parents=True)
            for k in range(4):
                Image.new("RGB", (8, 8), (40 * n, 50 * k, 9)).save(folder / f"{k}.png")
    commands = re.findall(r"^    diffcov (.+)$", DATA, flags=re.M)
    assert [command.split()[0] for command in commands] == list(QUICK)
    for command in commands:
        words = shlex.split(command)
        result = typed([*words, *QUICK[words[0]]])
        if words[0] != "inspect":
            assert "train 8, val 8, test 8 images of 8x8, 3 channel(s)" in result.stderr
    assert (tmp_path / "pets.png").is_file()


@pytest.mark.slow
def test_the_readme_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIFFCOV_RUN", "")  # so that it is put back
    monkeypatch.delenv("DIFFCOV_RUN")
    tiny_pipeline().save_pretrained("theirs")
    with zipfile.ZipFile("photos.zip", "w") as photos:
        for n in range(30):
            Image.effect_noise((40 + n, 36), 60).convert("RGB").save(tmp_path / "one.png")
            photos.write(tmp_path / "one.png", f"{n}.png")
    page = ROOT / "README.md"
    # the model of others in these tests is one of 8x8 pixels
    monkeypatch.setitem(FEW, "import", ["--no-check", "--data", "digits"])
    names = typed_in_order(page, monkeypatch)
    assert names[0] == "demo"
    assert set(names) == {
        "demo",
        "train-mean",
        "estimate-var",
        "fit-var-head",
        "sample",
        "import",
        "tune",
        "export",
        "compare",
    }
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.S)
    found: dict[str, Any] = {}
    exec(code.replace("count=16", "count=2").replace("steps=10).bits", "steps=10, images=4).bits"), found)
    assert found["images"].shape == (2, 3, 32, 32)


def test_the_page_of_training_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = typed_in_order(DOCS / "training.md", monkeypatch)
    assert names == ["train-mean", "estimate-var", "fit-var-head", "sample"]


def test_the_page_of_samplers_works(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What its second part trains is a mean with classes, in a run of its own."""
    monkeypatch.chdir(tmp_path)
    first, second = (DOCS / "samplers.md").read_text(encoding="utf-8").split("## Classes and guidance")
    shutil.copytree(finished, tmp_path / "runs" / "default")
    (tmp_path / "first.md").write_text(first, encoding="utf-8")
    (tmp_path / "second.md").write_text(second, encoding="utf-8")
    assert typed_in_order(tmp_path / "first.md", monkeypatch) == ["sample", "sample", "tune", "sample"]
    shutil.rmtree(tmp_path / "runs")
    assert typed_in_order(tmp_path / "second.md", monkeypatch) == ["train-mean", "estimate-var", "sample", "sample"]


def test_the_page_of_which_one_wins_works(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished, tmp_path / "runs" / "default")
    names = typed_in_order(DOCS / "which-one.md", monkeypatch)
    assert names == ["evaluate", "evaluate", "evaluate", "trajectory", "sample", "compare"]


def test_every_page_with_commands_is_typed() -> None:
    """A new page with commands needs a test above."""
    known = {
        "job-arrays.md",
        "reports.md",
        "provenance.md",
        "samplers.md",
        "several-processes.md",
        "training.md",
        "which-one.md",
        "your-own-data.md",
        "your-own-model.md",
    }
    shown = {
        page.name for page in DOCS.glob("*.md") if re.search(r"^    diffcov ", page.read_text(encoding="utf-8"), re.M)
    }
    assert shown == known


def test_the_page_of_reports_works(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what it names is in the comparison's file."""
    page = (DOCS / "reports.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, tmp_path / "runs" / "digits")
    commands = re.findall(r"^    diffcov (.+)$", page, flags=re.M)
    assert [command.split()[0] for command in commands] == ["compare"]
    small = ["--samplers", "none", "--covariance", "small", "--count", "70", "--features", "pixels", "--images", "4"]
    typed([*shlex.split(commands[0]), *small])
    found = json.loads((tmp_path / "runs" / "digits" / "compare" / "compare.json").read_text(encoding="utf-8"))
    assert "`ranking`" in page and [one["steps"] for one in found["ranking"] if one["of"] == "all"] == [5, 10]
    assert "`fid_stderr`" in page and all(cell["fid_stderr"] > 0 for cell in found["cells"])
    assert '"noise": 3' in page and NOISE == 3


PROVENANCE = (DOCS / "provenance.md").read_text(encoding="utf-8")


def test_the_page_of_provenance_works(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished, tmp_path / "runs" / "mine")
    commands = re.findall(r"^    (diffcov|cp) (.+)$", PROVENANCE, flags=re.M)
    assert [words.split()[0] for _, words in commands].count("inspect") == 8
    for program, words in commands:
        if program == "cp":
            shutil.copy(*words.split())
            continue
        typed(shlex.split(words))
    verified = CliRunner().invoke(app, ["inspect", "--verify", "drawn"]).stdout
    for link in re.findall(r"^\| `([a-z-]+\.[a-z]+(?: -> [a-z. ()]+)?)`", PROVENANCE, flags=re.M):
        assert link.replace("variance", "matrices").split(" -> ")[0] in verified, link


def test_pages_name_files_that_exist() -> None:
    for page in DOCS.glob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            assert (DOCS / target).exists(), f"{page.name} names {target}"


def test_the_page_of_job_arrays_works(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (DOCS / "job-arrays.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished, tmp_path / "runs" / "mine")
    commands = re.findall(r"^    diffcov (.+)$", page, flags=re.M)
    assert len(commands) == 5
    for command in commands:
        words = shlex.split(command)
        smaller = [*FEW["fit-var-head"], "--force"] if words[0] == "fit-var-head" else []
        result = typed([*words, *smaller])
        if "--json" in words:
            assert json.loads(result.stdout)["missing"] == [[0, 1], [4, 5]]
    assert (tmp_path / "set" / "samples.npz").is_file()
    assert not (tmp_path / "set.parts").exists()
    (from_python,) = re.findall(r"```python\n(.*?)```", page, flags=re.S)
    said: list[str] = []
    exec(from_python, {"print": lambda *words: said.append(" ".join(map(str, words)))})
    assert said == re.findall(r"# (.+)$", from_python, flags=re.M)
    (slurm,) = re.findall(r"```bash\n(.*?)```", page, flags=re.S)
    words = slurm.split("diffcov ")[1].replace("\\\n", "").replace("$((SLURM_ARRAY_TASK_ID * 1000))", "0")
    words = words.replace("1000", "2").replace("50000", "2")
    result = typed(shlex.split(words))
    assert len(list((tmp_path / "samples" / "ten" / "images").glob("*.png"))) == 2
