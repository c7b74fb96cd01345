"""Every command and every program that the pages in docs/ show is run, in their order."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from diffcov.cli.app import app
from diffcov.nets.unet import UNet, UNetConfig
from oracles.foreign import scattered, tiny_pipeline
from oracles.published_head import head

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "your-own-model.md").read_text(encoding="utf-8")
SMALL = {
    "import": ["--no-check"],
    "estimate-var": ["--samples", "1", "--knots", "4", "--knot-samples", "4"],
    "fit-var-head": ["--iterations", "1", "--batch-size", "8"],
    "sample": ["--count", "2"],
    "compare": ["--count", "0", "--images", "4"],
    "export": [],
}
"""What makes each command take a second."""


def test_the_page_of_one_s_own_model_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_pipeline().save_pretrained("theirs")
    trunk = scattered(UNet(UNetConfig(1, 8, 8, channels=32, multipliers=(1,), blocks=1, attention=(), heads=4)))
    torch.save({**trunk.state_dict(), **head("simple", images=1)}, "published-npr.pth")
    torch.save(torch.linspace(0, 1, 1001), "ms_eps.pth")
    commands = re.findall(r"^    diffcov (.+)$", PAGE, flags=re.M)
    assert [command.split()[0] for command in commands] == [*SMALL, "import", "import", "export"]
    for command in commands:
        words = shlex.split(command)
        result = CliRunner().invoke(app, [*words, *SMALL[words[0]]])
        assert result.exit_code == 0, (command, result.stderr)
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
        **SMALL, "tune": ["--few", "16", "--count", "64", "--no-starts", "--minutes", "0.02", "--features", "spectrum"],
        "train-mean": ["--resume", "--iterations", "3"],
    }  # fmt: skip
    for command in commands:
        words = shlex.split(command.replace(" --data photos.zip --size 32", "").replace("50000", "4"))
        smaller = [] if "--count" in words else shared[words[0]]
        result = CliRunner().invoke(app, [*words, *smaller])
        assert result.exit_code == 0, (command, result.stderr)
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
        result = CliRunner().invoke(app, [*words, *QUICK[words[0]]])
        assert result.exit_code == 0, (command, result.stderr)
        if words[0] != "inspect":
            assert "train 8, val 8, test 8 images of 8x8, 3 channel(s)" in result.stderr
    assert (tmp_path / "pets.png").is_file()


def test_pages_name_files_that_exist() -> None:
    for page in DOCS.glob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            assert (DOCS / target).exists(), f"{page.name} names {target}"
