"""Transition terms known at a few rho are known at all of them."""

from __future__ import annotations

import pytest
import torch

from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.meters.interpolation import chebyshev_nodes, interpolation_matrix
from diffcov.gaussian.nats import kl_lifted


@pytest.mark.parametrize("schedule", [NoiseSchedule.linear(1000), NoiseSchedule.cosine(1000)], ids=["linear", "cosine"])
@pytest.mark.parametrize("t", [2, 30, 200, 700, 1000])
@pytest.mark.parametrize("largest", [1.0, 1e-3])
def test_every_arrival_from_few_values(schedule: NoiseSchedule, t: int, largest: float) -> None:
    """Variances over ten powers of ten, errors that fit them and errors that do not; each term to 1e-8 of itself."""
    rho = schedule.snr_gain(torch.arange(1, t), t)
    var = largest * torch.logspace(-10, 0, 50, dtype=torch.float64)
    error_sq = var.flip(0) + 1e-6
    nodes = chebyshev_nodes(rho)
    assert nodes.numel() <= min(t - 1, 150)

    def nats(at: torch.Tensor) -> torch.Tensor:
        return kl_lifted(at[:, None], error_sq, var).sum(1)

    found = interpolation_matrix(nodes, rho) @ nats(nodes)
    assert found.numpy() == pytest.approx(nats(rho).numpy(), rel=1e-8)


def test_nodes_are_worth_it() -> None:
    """A hundred calls in place of a thousand."""
    rho = NoiseSchedule.linear(1000).snr_gain(torch.arange(1, 1000), 1000)
    assert 50 < chebyshev_nodes(rho).numel() < 130


def test_a_node_that_is_asked_for() -> None:
    """The barycentric formula divides by a distance of zero there; the value is the node's own."""
    nodes = chebyshev_nodes(torch.logspace(-4, 4, 500, dtype=torch.float64))
    rho = torch.cat([nodes[3:5], torch.tensor([1.0], dtype=torch.float64)])
    rows = interpolation_matrix(nodes, rho)
    assert torch.isfinite(rows).all()
    assert rows[0].nonzero().flatten().tolist() == [3]
    assert float(rows[0, 3]) == pytest.approx(1, rel=1e-12)
