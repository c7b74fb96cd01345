"""What the README and the pages on covariances and Python promise can be checked without reading them."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from diffcov.cli.app import app
from diffcov.covariance import registry

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COVARIANCES = (ROOT / "docs" / "covariances.md").read_text(encoding="utf-8")
PYTHON = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")


def test_two_lines_do_all_the_set_up() -> None:
    lines = [line.strip() for line in README.splitlines() if line.startswith("    python3 -m venv")]
    assert len(lines) == 2
    assert all("-c constraints.txt" in line for line in lines)
    assert lines[0].endswith("diffcov demo --train")
    assert lines[1].endswith("pytest -n auto")


def test_it_is_short_and_leads_to_every_page() -> None:
    assert len(README.split()) <= 900
    linked = set(re.findall(r"\]\((docs/[\w-]+\.md)\)", README))
    assert linked == {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")}
    headings = re.findall(r"^## (.+)$", README, flags=re.M)
    assert headings[:5] == ["Install", "A first picture", "Your own data", "Your own model", "Which to choose"]


def test_its_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", README):
        assert (ROOT / target).exists(), target


def test_every_covariance_is_explained() -> None:
    assert re.findall(
        r"^\| `([\w-]+)` \|.*\| (?:-|table|spectrum|matrices|head|spectrum, head|learned variance) \|",
        COVARIANCES,
        flags=re.M,
    ) == list(registry.COVARIANCES)


def test_the_order_of_auto_is_the_registrys() -> None:
    assert " > ".join(registry.PREFERENCE) in COVARIANCES


CODE = re.findall(r"```python\n(.*?)```", PYTHON, flags=re.S)
OWN_NETWORK = """
import torch

def build(width):
    first, last = torch.nn.Conv2d(3, width, 3, padding=1), torch.nn.Conv2d(width, 3, 3, padding=1)
    return Convolutions(first, last)

class Convolutions(torch.nn.Sequential):
    def forward(self, x, times):
        return super().forward(x)
"""


def with_budget(code: str, **smaller: str) -> str:
    """The README's code with other arguments, each of which stands in it once."""
    for there, instead in smaller.items():
        before = f"{there}={instead.split(' -> ')[0]}"
        assert code.count(before) == 1, before
        code = code.replace(before, f"{there}={instead.split(' -> ')[1]}")
    return code


def test_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a run that the commands left, made here with a tiny budget."""
    code = with_budget(CODE[0], samples="25 -> 2", limit="256 -> 8").replace(
        "steps=10).bits", "steps=10, images=8).bits"
    )
    monkeypatch.chdir(tmp_path)
    for command in (
        ["train-mean", "--iterations", "2"],
        ["estimate-var", "--samples", "1", "--knots", "4", "--knot-samples", "4"],
        ["fit-var-head", "--kind", "npr", "--iterations", "2"],
    ):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.stderr
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["images"].shape == names["pictures"].shape == (16, 1, 8, 8)
    assert names["images"].dtype == names["pictures"].dtype == torch.uint8
    assert int(names["images"].max()) <= 16 < int(names["pictures"].max()) <= 255
    assert 0 < names["found"].bits_per_dim().mean < 20


def test_the_example_with_a_network_of_one_s_own_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a small network and images made here, with a tiny budget."""
    assert CODE[1].count("network.load_state_dict(...)") == 1
    code = with_budget(
        CODE[1], samples="25 -> 1, knot_samples=0", kind='("npr",) -> ("npr",), iterations=2, batch_size=4'
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mine.py").write_text(OWN_NETWORK)
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (40, 32, 32, 3), generator=draw, dtype=torch.uint8).numpy()
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as folder:
        for i, image in enumerate(pixels):
            with folder.open(f"{i}.png", "w") as file:
                Image.fromarray(image).save(file, format="PNG")
    names: dict[str, Any] = {}
    exec(code.replace("network.load_state_dict(...)", ""), names)
    assert names["images"].shape == (64, 3, 32, 32)
    assert names["images"].dtype == torch.uint8
    command = ["sample", "--run", "runs/mine", "--module", "mine:build", "--steps", "3", "--count", "2"]
    assert CliRunner().invoke(app, command).exit_code == 0
