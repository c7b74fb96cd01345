"""What a set of samples says of itself: digests that anybody can recompute, and a sheet that needs no folder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from diffcov.errors import InputError
from diffcov.store import seal
from diffcov.store.images import contact_sheet, save_png
from diffcov.store.seal import SHEET_KEY, manifest_digest, pixel_digest, read_sheet, sealed, sheet_text

PIXELS = torch.randint(0, 256, (5, 3, 6, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
MANIFEST = {"sampler": {"seed": 3, "grid": (1, 5)}, "sampler_digest": "ab", "count": 5, "command": ["/home/me"]}


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_sheet_says_what_it_shows(tmp_path: Path, channels: int) -> None:
    images = torch.cat([PIXELS, PIXELS[:, :1]], 1)[:, :channels]
    sheet = contact_sheet(images, 256)
    save_png(tmp_path / "grid.png", sheet, sheet_text(MANIFEST, sheet))
    said, now = read_sheet(tmp_path / "grid.png")
    assert said is not None
    assert said["pixels"] == now == pixel_digest(sheet)
    assert said["sampler"] == {"seed": 3, "grid": [1, 5]}
    assert "home" not in json.dumps(said), "nothing of the machine that drew it"


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_another_pixel_is_seen(tmp_path: Path, channel: int) -> None:
    """Drawn over in a paint program that keeps the text."""
    sheet = contact_sheet(PIXELS, 256)
    text = sheet_text(MANIFEST, sheet)
    sheet[channel, 3, 3] ^= 1
    save_png(tmp_path / "grid.png", sheet, text)
    said, now = read_sheet(tmp_path / "grid.png")
    assert said is not None
    assert said["pixels"] != now


def test_a_sheet_of_somebody_else_says_nothing(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((3, 5), dtype=np.uint8)).save(tmp_path / "any.png")
    assert read_sheet(tmp_path / "any.png")[0] is None


@pytest.mark.parametrize("text", ["{half", "[]", '{"pixels": 3}', "{}", "[" * 50_000])
def test_text_that_is_none_of_ours(tmp_path: Path, text: str) -> None:
    inside = PngInfo()
    inside.add_itxt(SHEET_KEY, text)
    Image.fromarray(np.zeros((3, 5), dtype=np.uint8)).save(tmp_path / "any.png", pnginfo=inside)
    with pytest.raises(InputError, match="lacks what this diffcov needs"):
        read_sheet(tmp_path / "any.png")


def test_what_is_no_sheet(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_sheet(tmp_path / "absent.png")
    (tmp_path / "no.png").write_bytes(b"\x89PNG\r\n\x1a\nhalf")
    with pytest.raises(InputError, match="cannot be read as PNG"):
        read_sheet(tmp_path / "no.png")


def test_a_manifest_s_digest_is_of_all_else(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "0.png").write_bytes(b"x")
    found = sealed(tmp_path, MANIFEST)
    assert found["files"] == {"images/0.png": hashlib.sha256(b"x").hexdigest()}
    again = json.loads(json.dumps(found))
    assert manifest_digest(again) == found["digest"]
    assert manifest_digest({**again, "count": 6}) != found["digest"]
    assert manifest_digest({**again, "files": {"images/0.png": "0" * 64}}) != found["digest"]


def test_a_palette_of_the_same_colours_is_the_same_sheet(tmp_path: Path) -> None:
    sheet = torch.randint(0, 4, (3, 20, 30), dtype=torch.uint8, generator=torch.Generator().manual_seed(2)) // 2 * 255
    save_png(tmp_path / "grid.png", sheet, sheet_text(MANIFEST, sheet))
    with Image.open(tmp_path / "grid.png") as image:
        image.quantize(8).save(tmp_path / "smaller.png")
    assert read_sheet(tmp_path / "smaller.png")[1] == pixel_digest(sheet)


def test_more_pixels_than_a_sheet_has_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(np.zeros((3, 5), dtype=np.uint8)).save(tmp_path / "any.png")
    monkeypatch.setattr(seal, "MOST_PIXELS", 14)
    with pytest.raises(InputError, match="claims 5x3 pixels, more than any sheet has"):
        read_sheet(tmp_path / "any.png")
