"""Images with their noise, cut by time."""

from __future__ import annotations

import torch

from diffcov.denoiser.noised import Noised, noised_look
from diffcov.diffusion.schedule import NoiseSchedule
from oracles.gaussian import GaussianWorld
from oracles.tiny import DATA
from oracles.trunks import perfect_model

SCHEDULE = NoiseSchedule.linear(50)
MODEL = perfect_model(GaussianWorld(SCHEDULE, mean=0.2, var=0.25), DATA)


def test_images_of_each_time_keep_their_numbers() -> None:
    """Those of one time stand in a row, and all are numbered from 7 on."""
    draw = torch.Generator().manual_seed(0)
    x_0, eps = torch.randn(2, 6, *DATA.shape, dtype=torch.float64, generator=draw)
    t = torch.tensor([3, 3, 3, 9, 9, 50])
    whole = Noised(SCHEDULE, x_0, eps, noised_look(MODEL, x_0, t, eps, None), first=7)
    parts = list(whole.by_time())
    assert [(part.look.t, part.first, part.rows) for part in parts] == [
        (3, 7, slice(7, 10)),
        (9, 10, slice(10, 12)),
        (50, 12, slice(12, 13)),
    ]
    torch.testing.assert_close(torch.cat([part.error for part in parts]), whole.error)
    assert torch.equal(torch.cat([part.x_0 for part in parts]), x_0)


def test_of_one_time_there_is_one_part() -> None:
    x_0 = torch.zeros(2, *DATA.shape, dtype=torch.float64)
    look = noised_look(MODEL, x_0, torch.tensor([4, 4]), x_0, None).rows(slice(None), 4)
    whole = Noised(SCHEDULE, x_0, x_0, look, first=3)
    (part,) = whole.by_time()
    assert part is whole
