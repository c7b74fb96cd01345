"""Files of Extended-Analytic-DPM and OCM-DPM: their trunk is our U-Net, and their ``out2`` one of our heads.

What they compute is written here once more, as plain functions of their weights by their names.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from diffcov.covariance.ingredients import FittedHead
from diffcov.covariance.registry import make_covariance
from diffcov.errors import InputError, UsageError
from diffcov.nets.unet import UNet, UNetConfig
from diffcov.store.foreign.extended import PUBLISHED, read_norms
from diffcov.store.foreign.facts import Foreign
from diffcov.store.foreign.recognise import read_foreign
from diffcov.study.foreign_head import PublishedHead, published_head
from diffcov.study.reading_bench import built
from oracles.foreign import scattered
from oracles.published_head import head, out2
from oracles.published_unet import unet

PARITY = 1e-5
BASE = UNetConfig(3, 16, 16, channels=32, multipliers=(1, 2), blocks=1, attention=(8,), heads=4, dropout=0.0)
Weights = dict[str, Tensor]


def trunk(config: UNetConfig = BASE) -> Weights:
    return dict(scattered(UNet(config)).state_dict())


def heads_of(found: Foreign, told: str | None = None) -> PublishedHead:
    model = built(found, found.meaning)
    made = published_head(found, told, model, None, ())
    assert made is not None
    return made


@pytest.mark.parametrize("network", ["simple", "complex"])
@pytest.mark.parametrize("kind", PUBLISHED)
@pytest.mark.parametrize("learned", [False, True], ids=["3 outputs", "6 outputs"])
def test_mean_and_variance_are_theirs(tmp_path: Path, network: str, kind: str, learned: bool) -> None:
    """Cov[x_0 | x_t] = r times out2 (npr), out2 - eps^2 (sn), 1 + out2 (ocm), before any clip."""
    config = replace(BASE, learned_range=learned)
    weights = {**trunk(config), **head(network)}
    torch.save(weights, tmp_path / f"cifar10_ls_{kind}.pth")
    found = read_foreign(tmp_path / f"cifar10_ls_{kind}.pth", (16, 16))
    assert found.head is not None
    assert (found.head.kind, found.head.network) == (kind, network)
    made = heads_of(found)
    assert (made.kind, made.spec.network, made.spec.link) == (kind, network, "identity")
    model = built(found, found.meaning)
    draw = torch.Generator().manual_seed(1)
    t, x = 7, torch.randn(2, 3, 16, 16, generator=draw)
    told = torch.full((2,), 6 * 1000 / 4000 if learned else 7.0)  # shift1 in theirs of ImageNet, none in CIFAR's
    eps, activations = unet(weights, x, told, 32, 4)
    look = model.look(x, t)
    torch.testing.assert_close(look.eps_hat, eps[:, :3], rtol=PARITY, atol=PARITY)
    raw = out2(weights, activations, told)
    ratio = float(model.schedule.ratio[t])
    expected = ratio * {"npr": raw, "sn": raw - eps[:, :3] ** 2, "ocm": 1 + raw}[kind]
    covariance = make_covariance(kind, model, FittedHead(made.module))
    torch.testing.assert_close(covariance.unbounded(look).var / ratio, expected / ratio, rtol=PARITY, atol=PARITY)


def test_times_are_counted_as_theirs(tmp_path: Path) -> None:
    """CIFAR-10's pass n = 1..N, stretched to a thousand; those with a learned variance are OpenAI's, from 0."""
    torch.save({**trunk(), **head("simple")}, tmp_path / "a.pth")
    found = read_foreign(tmp_path / "a.pth", (16, 16))
    time, schedule = found.meaning.reading.time, found.meaning.reading.schedule
    assert (time.offset, time.scale, schedule.name, schedule.T) == (0.0, 1.0, "linear", 1000)
    (asked,) = (one for one in found.open if one.name == "times")
    readings = {word: meaning.reading.time.offset for word, meaning in asked.of(found.meaning)}
    assert next(iter(readings)) == "1..T, then * 1000 / T"
    assert readings == {"1..T, then * 1000 / T": 0.0, "0..1000 for any T": 1.0, "0..T-1": 1.0, "1..T": 0.0}
    torch.save({**trunk(replace(BASE, learned_range=True)), **head("simple")}, tmp_path / "b.pth")
    reading = read_foreign(tmp_path / "b.pth", (16, 16)).meaning.reading
    assert (reading.time.offset, reading.time.scale, reading.schedule.name) == (1.0, 0.25, "cosine")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("cifar10_ls_npr.pth", "npr"), ("pred_eps_epsc_pretrained.pth", "npr"), ("SN-cifar.pth", "sn"),
        ("pred_eps_eps2_pretrained.pth", "sn"), ("ocm_cifar.pth", "ocm"), ("pred_eps_hes_pretrained.pth", "ocm"),
        ("model.pth", None), ("snow.pth", None), ("npr_sn.pth", None),
    ],
)  # fmt: skip
def test_the_name_of_a_file_may_say_its_kind(tmp_path: Path, name: str, kind: str | None) -> None:
    torch.save({**trunk(), **head("simple")}, tmp_path / name)
    found = read_foreign(tmp_path / name, (16, 16))
    assert found.head is not None
    assert found.head.kind == kind
    told = {fact.name: fact.value for fact in found.facts}["variance head"]
    assert told == f"{kind or 'of a kind that no name says'}, simple"


def checkpoint(layout: str, path: Path, states: dict[str, dict[str, Weights]]) -> Path:
    """As their runs write them: a folder of files, or one file of everything."""
    if layout == "file":
        torch.save({"it": 3, "optimizers_states": {"all": {"step": 3}}, "best_val_loss": None, **states}, path)
        return path
    for part, networks in states.items():
        (path / part).mkdir(parents=True)
        for name, weights in networks.items():
            torch.save(weights, path / part / f"{name}.pth")
    return path


@pytest.mark.parametrize("layout", ["file", "folder"])
def test_checkpoints_of_runs_and_their_averages(tmp_path: Path, layout: str) -> None:
    raw, average = trunk(), {name: tensor + 1 for name, tensor in trunk().items()}
    both = {"models_states": {"model": raw}, "ema_models_states": {"model": average}}
    found = read_foreign(checkpoint(layout, tmp_path / "3.ckpt", both), (16, 16))
    assert torch.equal(found.weights["out.2.bias"], average["out.2.bias"])
    assert {fact.name: fact.value for fact in found.facts}["part"] == "ema_models_states"
    only = checkpoint(layout, tmp_path / "4.ckpt", {"models_states": {"anything": {**raw, **head("complex")}}})
    found = read_foreign(only, (16, 16))
    assert torch.equal(found.weights["out.2.bias"], raw["out.2.bias"])
    assert found.head is not None
    several = checkpoint(layout, tmp_path / "5.ckpt", {"models_states": {"a": raw, "b": raw}})
    with pytest.raises(InputError, match="holds the networks a, b, and of several the one called model is read"):
        read_foreign(several)


def test_what_is_no_head_of_theirs_is_refused(tmp_path: Path) -> None:
    def refused(words: str, weights: Weights, told: str | None = None) -> None:
        torch.save(weights, tmp_path / "a.pth")
        with pytest.raises(InputError, match=words):
            heads_of(read_foreign(tmp_path / "a.pth", (16, 16)), told)

    refused(r"variance head with out2\.5\.weight, which neither simple nor complex ones have",
            {**trunk(), **head("simple"), "out2.5.weight": torch.zeros(3)})  # fmt: skip
    refused("do not fit their own configuration", {**trunk(), **head("simple", channels=64)}, "npr")
    added = trunk(replace(BASE, scale_shift=False))
    refused("adds the time embedding and does not scale by it", {**added, **head("complex", scale_shift=False)})
    refused("nothing says of which kind: say --head with one of npr, sn, ocm, or give images with --data",
            {**trunk(), **head("simple")})  # fmt: skip


def test_a_kind_that_was_told_needs_a_head_and_has_to_be_published(tmp_path: Path) -> None:
    torch.save({**trunk(), **head("simple")}, tmp_path / "npr.pth")
    found = read_foreign(tmp_path / "npr.pth", (16, 16))
    assert heads_of(found, "sn").kind == "sn", "what is told goes before the name"
    with pytest.raises(UsageError, match="--head takes npr, sn, ocm, the kinds that are published; found 'banded'"):
        heads_of(found, "banded")
    torch.save(trunk(), tmp_path / "npr.pth")
    found = read_foreign(tmp_path / "npr.pth", (16, 16))
    model = built(found, found.meaning)
    assert published_head(found, None, model, None, ()) is None
    with pytest.raises(UsageError, match=r"--head sn was given, and .*npr\.pth holds no variance head \(out2\)"):
        published_head(found, "sn", model, None, ())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.linspace(0, 1, 5, dtype=np.float32), [0, 0.25, 0.5, 0.75, 1]),
        (torch.linspace(0, 1, 5), [0, 0.25, 0.5, 0.75, 1]),
        (np.zeros((2, 2), dtype=np.float32), None),
        (torch.arange(5), None),
        (torch.linspace(0, 1, 5).bfloat16(), [0, 0.25, 0.5, 0.75, 1]),
        ([np.zeros(3)], None),
        ({"a": torch.zeros(3)}, None),
    ],
    ids=["numpy", "torch", "a matrix", "whole numbers", "bfloat16", "a list", "weights"],
)
def test_a_row_of_numbers_is_a_table_of_norms(tmp_path: Path, value: Any, expected: list[float] | None) -> None:
    torch.save(value, tmp_path / "a.pth")
    found = read_norms(tmp_path / "a.pth")
    assert (None if found is None else found.tolist()) == expected
    assert read_norms(tmp_path) is None
    assert read_norms(tmp_path / "nothing.pth") is None


def test_a_row_of_numbers_that_is_damaged_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ms_eps.pth"
    torch.save(torch.zeros(1001), path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"\x4d\xe9\x03\x85", b"\x4d\xea\x03\x85"))
    with pytest.raises(InputError, match=r"ms_eps\.pth: its size \(1002,\) does not fit the 1001 numbers"):
        read_norms(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"ms_eps\.pth: storage \d+ is cut off"):
        read_norms(path)
