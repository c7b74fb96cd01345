"""Both bounds of a range check are those that evaluating either covariance alone gives, on the same noise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from diffcov.covariance.corrected import Corrected
from diffcov.covariance.ingredients import Ingredients
from diffcov.covariance.learned_range import LearnedRange
from diffcov.denoiser.clipped import Clipped
from diffcov.denoiser.mean_model import MeanModel
from diffcov.diffusion.grids import even
from diffcov.engines.range_check import check_range
from diffcov.engines.sweep import estimate
from diffcov.errors import InputError
from diffcov.statistics.table import VarianceTable
from diffcov.store.range_check import load_range_check, save_range_check
from diffcov.study.likelihood import likelihood
from oracles.tiny import tiny_examples, tiny_model

IMAGES = tiny_examples(6)


def test_both_bounds_are_those_of_each_alone() -> None:
    model, grid = tiny_model(20), even(20, 10)
    found = check_range(model, IMAGES, seed=3)
    table = estimate(model, IMAGES, [VarianceTable], grid.times, 6, seed=3)[VarianceTable]
    known = Ingredients.of(model.schedule, model.data, table)
    for mine, kind in ((found.learned, LearnedRange), (found.corrected, Corrected)):
        alone = likelihood(Clipped(model), kind(known), grid, IMAGES, seed=3)
        torch.testing.assert_close(mine, alone.nats, rtol=1e-6, atol=0)
    bits = found.as_dict()
    assert bits["learned-range"] - bits["corrected"] == pytest.approx(bits["difference"])
    assert (bits["images"], bits["steps"], found.times) == (6, 10, grid.times)


@pytest.mark.parametrize("T", [2, 7])
def test_a_short_chain_is_walked_whole(T: int) -> None:
    assert check_range(tiny_model(T), IMAGES).times == tuple(range(1, T + 1))


def test_a_network_that_learned_none_is_refused() -> None:
    model = tiny_model(20)
    reading = replace(model.reading, learned_range=False)

    class Half(torch.nn.Module):
        def forward(self, x: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
            output: torch.Tensor = model.network(x, times)[0][:, :1]
            return output

    with pytest.raises(InputError, match="this network gives its mean alone"):
        check_range(MeanModel(Half(), reading).freeze(), IMAGES)
    with pytest.raises(InputError, match="read as one that learned a variance too, which needs twice the channels"):
        MeanModel(Half(), model.reading).look(torch.zeros(1, 1, 8, 8), 5)


def test_it_is_the_same_after_a_round_trip(tmp_path: Path) -> None:
    found = check_range(tiny_model(20), IMAGES)
    save_range_check(tmp_path / "range-check.safetensors", found, "a" * 64, {"source": "here"})
    read = load_range_check(tmp_path / "range-check.safetensors")
    assert read.found.as_dict() == found.as_dict()
    assert (read.trunk, read.images) == ("a" * 64, {"source": "here"})
