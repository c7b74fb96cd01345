"""Copies to a device arrive as they are."""

from __future__ import annotations

import pytest
import torch

from diffcov.transfer import sent

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.int64, torch.bool])
def test_values_arrive_and_the_source_may_go(device: str, dtype: torch.dtype) -> None:
    """Also where the memory that was copied from is used again at once."""
    rows = [torch.arange(1000).add(i).remainder(7).to(dtype) for i in range(50)]
    there = [sent(row.clone(), torch.device(device)) for row in rows]
    assert all(found.device.type == device for found in there)
    assert all(map(torch.equal, (found.cpu() for found in there), rows))


def test_what_is_there_stays_itself() -> None:
    values = torch.zeros(3)
    assert sent(values, torch.device("cpu")) is values
