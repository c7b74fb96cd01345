"""Foreign feature extractors: the values they are called with, the channels they take, and how they fail."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from torch import Tensor

from diffcov.data import DataDescription
from diffcov.errors import InputError
from diffcov.store.seal import file_digest
from diffcov.store.torchscript import load_torchscript
from oracles.scripted import Broken, Colour, Inceptionlike, Means, Pair, Single, save_scripted

CPU = torch.device("cpu")
GREY = DataDescription(1, 6, 5, levels=17)
RGB = DataDescription(3, 6, 5)


def images(data: DataDescription, count: int = 4) -> Tensor:
    draw = torch.Generator().manual_seed(count)
    return torch.randint(data.levels, (count, *data.shape), generator=draw, dtype=torch.uint8)


def test_values_are_whole_numbers_up_to_255(tmp_path: Path) -> None:
    path = save_scripted(tmp_path / "pair.pt", Pair())
    found = load_torchscript(path, GREY, CPU)
    features = found.extract(images(GREY))
    assert (found.dims, found.channels) == (30, 1)
    assert features.dtype == torch.float32
    stretched = (images(GREY).double() * 255 / 16).round()
    assert torch.equal(features.double(), 2 * stretched.flatten(1)), "the first of two outputs, flattened"
    assert found.digest == file_digest(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_grey_stays_grey_where_it_is_taken(tmp_path: Path) -> None:
    found = load_torchscript(save_scripted(tmp_path / "means.pt", Means()), GREY, CPU)
    assert (found.dims, found.channels) == (1, 1)


def test_grey_is_repeated_where_colour_is_needed(tmp_path: Path) -> None:
    path = save_scripted(tmp_path / "colour.pt", Colour())
    grey, colour = load_torchscript(path, GREY, CPU), load_torchscript(path, RGB, CPU)
    assert (grey.dims, grey.channels) == (colour.dims, colour.channels) == (5, 3)
    stretched = (images(GREY).float() * 255 / 16).round().to(torch.uint8)
    assert torch.equal(grey.extract(images(GREY)), colour.extract(stretched.repeat(1, 3, 1, 1)))


def test_features_are_asked_for_where_that_is_possible(tmp_path: Path) -> None:
    found = load_torchscript(save_scripted(tmp_path / "i.pt", Inceptionlike()), RGB, CPU)
    assert found.dims == 3, "without return_features there are 1000 logits"
    torch.testing.assert_close(found.extract(images(RGB)), images(RGB).float().mean((2, 3)))


def test_a_traced_module_is_as_good(tmp_path: Path) -> None:
    module = Colour().eval()
    with pytest.warns(DeprecationWarning):
        torch.jit.save(torch.jit.trace(module, torch.zeros(2, 3, 6, 5)), str(tmp_path / "t.pt"))
    found = load_torchscript(tmp_path / "t.pt", RGB, CPU)
    torch.testing.assert_close(found.extract(images(RGB)), module(images(RGB).float()).detach())


def test_a_module_that_takes_no_such_images(tmp_path: Path) -> None:
    path = save_scripted(tmp_path / "colour.pt", Colour())
    for data in (DataDescription(4, 6, 5), DataDescription(1, 2, 2)):
        with pytest.raises(InputError) as caught:
            load_torchscript(path, data, CPU)
        message = str(caught.value)
        assert str(path) in message
        assert str(data) in message
        assert f"expected input[2, {data.channels}, " in message, "the module's own words, on the data's own channels"
        assert "\n" not in message


def test_an_output_that_is_no_vector_an_image(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"2 images gave \(\)"):
        load_torchscript(save_scripted(tmp_path / "single.pt", Single()), RGB, CPU)


def test_nan_is_left_to_those_who_use_the_features(tmp_path: Path) -> None:
    found = load_torchscript(save_scripted(tmp_path / "broken.pt", Broken()), RGB, CPU)
    assert not torch.isfinite(found.extract(images(RGB))).any()


def test_files_that_are_something_else(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("no module")
    torch.save({"w": torch.ones(1)}, tmp_path / "weights.pt")
    for name in ("text.pt", "weights.pt"):
        with pytest.raises(InputError) as caught:
            load_torchscript(tmp_path / name, RGB, CPU)
        assert f"{name} is no TorchScript file" in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"cannot read .*gone\.pt: No such file"):
        load_torchscript(tmp_path / "gone.pt", RGB, CPU)
