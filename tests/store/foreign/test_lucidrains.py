"""Checkpoints of denoising-diffusion-pytorch 2.3.4: a file that its own code wrote, and what its own code says of it.

``assets/lucidrains-model-3.pt`` holds a trainer's dictionary of a network with random weights (dim 8, two levels, two
heads of 4), its raw and its averaged weights; ``assets/lucidrains-expected.npz`` what the averaged one answers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diffcov.errors import InputError
from diffcov.store.foreign.recognise import read_foreign
from diffcov.store.foreign.torch_files import read_torch_file
from diffcov.study.reading_bench import built

ASSETS = Path(__file__).parents[2] / "assets"
FILE = ASSETS / "lucidrains-model-3.pt"
PARITY = 1e-5


def stored() -> dict[str, Any]:
    found: dict[str, Any] = torch.load(FILE, weights_only=True)
    return found


def test_the_output_is_that_of_the_average() -> None:
    expected = np.load(ASSETS / "lucidrains-expected.npz")
    found = read_foreign(FILE, (8, 8))
    model = built(found, found.meaning)
    x, y = torch.from_numpy(expected["x"]), torch.from_numpy(expected["y"])
    for i, t in enumerate(expected["t"]):
        torch.testing.assert_close(model.output(x[i : i + 1], int(t) + 1), y[i : i + 1], rtol=0, atol=PARITY)
    said = {fact.name: fact for fact in found.facts}
    assert "its average" in said["network"].value
    assert y.std() > 0.1


def test_schedule_and_objective_stand_in_its_buffers() -> None:
    reading = read_foreign(FILE, (8, 8)).meaning.reading
    expected = np.load(ASSETS / "lucidrains-expected.npz")["alpha_bar"]
    assert (reading.schedule.T, reading.predicts, reading.time.offset) == (100, "v", 1.0)
    torch.testing.assert_close(
        reading.schedule.alpha_bar[1:], torch.from_numpy(expected).double(), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("cap", [float("inf"), 5.0], ids=["plain", "min-SNR"])
@pytest.mark.parametrize(("predicts", "power"), [("eps", -1), ("x0", 0), ("v", 0)])
def test_every_objective_is_read_off_the_weights_of_the_loss(
    tmp_path: Path, predicts: str, power: int, cap: float
) -> None:
    whole = stored()
    for state, prefix in ((whole["model"], ""), (whole["ema"], "ema_model.")):
        alpha_bar = state[f"{prefix}alphas_cumprod"].double()
        snr = alpha_bar / (1 - alpha_bar)
        weight = snr.clamp(max=cap) * snr**power
        state[f"{prefix}loss_weight"] = (weight / (snr + 1) if predicts == "v" else weight).float()
    torch.save(whole, tmp_path / "model-1.pt")
    assert read_foreign(tmp_path / "model-1.pt", (8, 8)).meaning.reading.predicts == predicts


def test_without_an_average_the_raw_weights_are_taken_and_said(tmp_path: Path) -> None:
    whole = stored()
    raw = whole["model"]
    del whole["ema"]
    torch.save(whole, tmp_path / "model-1.pt")
    torch.save(raw, tmp_path / "state.pt")
    for name in ("model-1.pt", "state.pt"):
        found = read_foreign(tmp_path / name, (8, 8))
        assert torch.equal(found.weights["init_conv.weight"], raw["model.init_conv.weight"])
        assert "average" not in found.facts[0].value


def test_another_weight_of_the_loss_is_refused(tmp_path: Path) -> None:
    whole = stored()
    whole["ema"]["ema_model.loss_weight"] = torch.linspace(1, 7, 100)
    torch.save(whole, tmp_path / "model-1.pt")
    with pytest.raises(InputError, match="neither eps nor x0 nor v; say what it predicts with --prediction"):
        read_foreign(tmp_path / "model-1.pt", (8, 8))


def test_a_self_conditioned_network_is_refused(tmp_path: Path) -> None:
    whole = stored()
    for state, prefix in ((whole["model"], ""), (whole["ema"], "ema_model.")):
        weight = state[f"{prefix}model.init_conv.weight"]
        state[f"{prefix}model.init_conv.weight"] = torch.cat([weight, weight], 1)
    torch.save(whole, tmp_path / "model-1.pt")
    with pytest.raises(InputError, match="a self-conditioned network, which is not read yet"):
        read_foreign(tmp_path / "model-1.pt", (8, 8))


def test_nothing_else_of_the_file_is_needed() -> None:
    """The optimiser and the scaler are records or plain values, and never loaded."""
    found = read_torch_file(FILE)
    assert (found["step"], found["version"], found["scaler"]) == (3, "2.3.4", None)
