"""The objective of the mean: what its network shall predict, how errors weigh, and what the network is told."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from diffcov.data import DataDescription, Examples
from diffcov.denoiser.mean_model import MeanModel
from diffcov.denoiser.parametrisation import PARAMETRISATIONS
from diffcov.denoiser.reading import Reading
from diffcov.denoiser.time import TimeConvention
from diffcov.diffusion.level import q_sample
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.training.batches import Batch, NoisyBatches
from diffcov.engines.training.mean_fit import MeanObjective
from diffcov.errors import UsageError
from diffcov.nets.unet import UNet, UNetConfig

DATA = DataDescription(1, 8, 8, levels=17)
NETWORK = UNetConfig(1, 8, 8, channels=8, multipliers=(1,), blocks=1, attention=(), heads=1, dropout=0.1)
SCHEDULE = NoiseSchedule.linear(50)
ENDING = NoiseSchedule.from_betas([*torch.linspace(1e-3, 0.3, 49, dtype=torch.float64).tolist(), 1.0])
"""One that ends at noise alone."""
TIMES = TimeConvention.spanning_thousand(50)
IMAGES = torch.randint(0, 17, (10, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(10) % 3
ROUNDING = 1e-6
"""Relative, of a mean over 64 squares: float32 against float64 by hand."""


def batches(labels: Tensor | None = None, label_dropout: float = 0.0) -> NoisyBatches:
    return NoisyBatches(Examples(IMAGES, labels), DATA, SCHEDULE, 8, True, 0, label_dropout)


def spread_batch(schedule: NoiseSchedule = SCHEDULE) -> Batch:
    """Eight images from the first time to the last."""
    found, t = batches().at(0), torch.tensor([1, 2, 5, 10, 25, 40, 49, 50])
    return replace(found, t=t, x_t=q_sample(schedule, found.x_0, t, found.eps))


def lost(objective: MeanObjective, batch: Batch) -> Tensor:
    """(B,) float64, without a graph."""
    found = objective.losses(batch)
    assert list(found) == ["mean"]
    assert found["mean"].shape == (len(batch.t),)
    assert found["mean"].dtype == torch.float32
    return found["mean"].detach().double()


def unet_objective(predicts: str, schedule: NoiseSchedule = SCHEDULE) -> MeanObjective:
    """A network with weights everywhere, as good as random."""
    draw = torch.Generator().manual_seed(2)
    network = UNet(NETWORK)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.4, generator=draw)
    return MeanObjective(MeanModel(network, Reading(schedule, DATA, TIMES, predicts)))


def levels(schedule: NoiseSchedule, t: Tensor) -> tuple[Tensor, Tensor]:
    """sqrt(alpha_bar_t) and sqrt(beta_bar_t), (B, 1, 1, 1) float64."""
    return tuple(values[t].sqrt()[:, None, None, None] for values in (schedule.alpha_bar, schedule.beta_bar))


def by_hand(predicts: str, schedule: NoiseSchedule, batch: Batch, output: Tensor) -> Tensor:
    """(B,) float64: the mean over pixels of weight * (target - output)^2."""
    a, b = levels(schedule, batch.t)
    x_0, eps = batch.x_0.double(), batch.eps.double()
    target = {"eps": eps, "v": a * eps - b * x_0, "x0": x_0}[predicts]
    weight = {"eps": 1.0, "v": 1.0, "x0": 1 / b**2}[predicts]
    return (weight * (target - output.double()).square()).flatten(1).mean(1)


class Told(nn.Module):
    """Says what it is told to say, times a weight that is 1; remembers what it was asked."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output
        self.weight = nn.Parameter(torch.ones(()))
        self.labels: list[Tensor] = []

    def forward(self, x: Tensor, times: Tensor, labels: Tensor | None = None) -> Tensor:
        if labels is not None:
            self.labels.append(labels)
        return self.weight * self.output[: len(x)]


def told_objective(predicts: str, output: Tensor, schedule: NoiseSchedule = SCHEDULE, **more: int) -> MeanObjective:
    return MeanObjective(MeanModel(Told(output), Reading(schedule, DATA, TIMES, predicts, **more)))


# --- targets and weights


@pytest.mark.parametrize("schedule", [SCHEDULE, ENDING], ids=["linear", "ending at noise"])
@pytest.mark.parametrize("predicts", PARAMETRISATIONS)
def test_the_loss_is_the_weighted_squared_error_per_image(predicts: str, schedule: NoiseSchedule) -> None:
    """By hand on a network with weights everywhere; dropout is off on both sides. First and last time included."""
    objective, batch = unet_objective(predicts, schedule), spread_batch(schedule)
    objective.model.eval()
    output = objective.model.output(batch.x_t, batch.t).detach()
    expected = by_hand(predicts, schedule, batch, output)
    torch.testing.assert_close(lost(objective, batch), expected, rtol=ROUNDING, atol=0)
    nothing = by_hand(predicts, schedule, batch, torch.zeros_like(output))
    assert not torch.isclose(expected, nothing, rtol=1e-2).any(), "the prediction matters here"


@pytest.mark.parametrize("predicts", ["eps", "v"])
def test_of_noise_the_loss_is_the_look_s_own_error_and_of_v_that_over_alpha_bar(predicts: str) -> None:
    """x_t is given, so an error of v is 1 / a times the error of eps."""
    objective, batch = unet_objective(predicts), spread_batch()
    objective.model.eval()
    a, _ = levels(SCHEDULE, batch.t)
    error_sq = (batch.eps - objective.model.look(batch.x_t, batch.t).eps_hat).detach().double().square()
    expected = (error_sq / (1 if predicts == "eps" else a**2)).flatten(1).mean(1)
    # At the last time a is 0.0063: there the error of eps is a small difference of numbers of order 1.
    torch.testing.assert_close(lost(objective, batch), expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("predicts", PARAMETRISATIONS)
def test_the_target_costs_nothing_and_is_read_as_the_truth(predicts: str) -> None:
    """x_0 and eps both follow from it, up to float32 times the division by a or b that each of them takes."""
    batch = spread_batch()
    a, b = levels(SCHEDULE, batch.t)
    truth = {"eps": batch.eps, "v": (a * batch.eps - b * batch.x_0).float(), "x0": batch.x_0}[predicts]
    objective = told_objective(predicts, truth)
    assert float(lost(objective, batch).max()) < 1e-12
    look = objective.model.look(batch.x_t, batch.t)
    assert float(((look.x0_hat - batch.x_0).detach().abs() * a).max()) < 2e-6
    assert float(((look.eps_hat - batch.eps).detach().abs() * b).max()) < 2e-6


def test_an_error_of_x_0_counts_as_the_error_of_v_that_it_makes() -> None:
    """v = (a x_t - x_0) / b for the x_t that is seen: the two parametrisations lose alike, image by image."""
    batch = spread_batch()
    a, b = levels(SCHEDULE, batch.t)
    guess = batch.x_0 + 0.3 * torch.randn(batch.x_0.shape, generator=torch.Generator().manual_seed(1))
    as_v = ((a * batch.x_t - guess.double()) / b).float()
    of_x0, of_v = (lost(told_objective(p, out), batch) for p, out in (("x0", guess), ("v", as_v)))
    torch.testing.assert_close(of_x0, of_v, rtol=1e-4, atol=0)
    bare = (guess - batch.x_0).double().square().flatten(1).mean(1)
    torch.testing.assert_close(of_x0, bare / b.flatten() ** 2, rtol=ROUNDING, atol=0)
    assert float((of_x0 / bare).max()) > 400, "at t = 1, beta_bar is 0.002"


@pytest.mark.parametrize("predicts", PARAMETRISATIONS)
def test_gradients_have_the_weight_too(predicts: str) -> None:
    """d/dw (w out - target)^2 at w = 1 is 2 out (out - target), times the weight."""
    batch = spread_batch()
    out = torch.randn(batch.x_0.shape, generator=torch.Generator().manual_seed(1))
    objective = told_objective(predicts, out)
    objective.losses(batch)["mean"].sum().backward()
    a, b = levels(SCHEDULE, batch.t)
    target = {"eps": batch.eps, "v": a * batch.eps - b * batch.x_0, "x0": batch.x_0}[predicts]
    weight = 1 / b**2 if predicts == "x0" else torch.ones_like(b)
    expected = (weight * 2 * out * (out - target)).flatten(1).mean(1).sum()
    assert objective.model.network.weight.grad is not None
    assert float(objective.model.network.weight.grad) == pytest.approx(float(expected), rel=1e-5)


def test_a_variance_beside_the_mean_is_not_trained() -> None:
    """Of an output with twice the channels the first half is the prediction."""
    batch = spread_batch()
    draw = torch.Generator().manual_seed(1)
    half, other = (torch.randn(batch.x_0.shape, generator=draw) for _ in range(2))
    found = [lost(told_objective("v", out), batch) for out in (half, torch.cat([half, other], 1))]
    assert torch.equal(*found)


# --- what is trained, and what it is told


def test_the_network_alone_is_trained_in_train_mode() -> None:
    model = unet_objective("v").model.freeze()
    model.requires_grad_(True)
    objective = MeanObjective(model)
    assert objective.module is model.network
    assert list(objective.parts) == [model.network]
    assert model.network.training
    batch = batches().at(0)
    assert not torch.equal(*(lost(objective, batch) for _ in range(2))), "dropout at work"


def test_labels_reach_the_network_as_the_batch_tells_them() -> None:
    """Those that are left out are -1 to it."""
    source = batches(labels=LABELS, label_dropout=0.5)
    objective = told_objective("eps", torch.zeros(8, *DATA.shape), classes=3)
    objective.model.network.labels.clear()
    for n in range(4):
        batch = source.at(n)
        lost(objective, batch)
        assert batch.labels is not None
        assert torch.equal(objective.model.network.labels[n], batch.labels)
    seen = torch.cat(objective.model.network.labels)
    assert set(seen.tolist()) == {-1, 0, 1, 2}


def test_images_without_labels_are_unlabelled_to_a_network_with_classes() -> None:
    objective = told_objective("eps", torch.zeros(8, *DATA.shape), classes=3)
    lost(objective, batches().at(0))
    assert objective.model.network.labels[-1].tolist() == [-1] * 8
    must = told_objective("eps", torch.zeros(8, *DATA.shape), classes=3, needs_labels=True)
    with pytest.raises(UsageError, match="has never seen an image without a label"):
        must.losses(batches().at(0))


def test_labels_change_a_network_with_classes_once_it_has_learned_them() -> None:
    """Each label has an embedding of its own, and an image without one gets nothing added."""
    torch.manual_seed(0)
    network = UNet(replace(NETWORK, classes=3, dropout=0.0))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.2)
    objective = MeanObjective(MeanModel(network, Reading(SCHEDULE, DATA, TIMES, "v", classes=3)))
    batch = batches(labels=LABELS).at(0)
    assert batch.labels is not None
    others = ((batch.labels + 1) % 3, torch.full((8,), -1))
    losses = [lost(objective, replace(batch, labels=labels)) for labels in (batch.labels, *others)]
    assert not torch.isclose(losses[0], losses[1]).any()
    assert not torch.isclose(losses[0], losses[2]).any()
    with torch.no_grad():
        network.label_emb.weight.zero_()
    assert torch.equal(lost(objective, batch), losses[2])


def test_a_network_without_classes_refuses_labels() -> None:
    objective = told_objective("eps", torch.zeros(8, *DATA.shape))
    with pytest.raises(UsageError, match="unconditional: it takes no class labels"):
        objective.losses(batches(labels=LABELS).at(0))
