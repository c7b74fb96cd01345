"""The demo at a tiny budget: everything it promises is there."""

from __future__ import annotations

import json
import math
from pathlib import Path

from PIL import Image
from typer.testing import CliRunner

from diffcov.cli.app import app
from diffcov.covariance.registry import COVARIANCES


def test_demo_ends_with_a_picture_and_a_table(tmp_path: Path) -> None:
    run = tmp_path / "demo"
    options = ["--iterations", "3", "--head-iterations", "2", "--samples", "1", "--count", "10", "--json"]
    result = CliRunner().invoke(app, ["demo", "--run", str(run), *options])
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["steps"] == [5, 10, 50]
    assert list(report["frechet_pixels"]) == list(COVARIANCES)
    assert all(len(row) == 3 and all(math.isfinite(x) for x in row) for row in report["frechet_pixels"].values())
    with Image.open(report["picture"]) as picture:
        picture.load()
        assert picture.width > 3 * 10 * 40
        assert picture.height > len(COVARIANCES) * 40
    assert "frechet@10 pixels" in result.stderr
    assert f"10 real digits have {report['real']:.1f}" in result.stderr
    assert all(name in result.stderr for name in COVARIANCES)

    again = CliRunner().invoke(app, ["demo", "--run", str(run), *options])
    assert again.exit_code == 1
    assert "already exists" in again.stderr
