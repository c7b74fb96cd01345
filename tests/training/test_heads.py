"""Heads: fitted on a frozen trunk in eval mode, all kinds on one call, and true to the closed form."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from diffcov.covariance import registry
from diffcov.data import DataDescription
from diffcov.errors import UsageError
from diffcov.mean_model import MeanModel, TimeConvention
from diffcov.models.head import SimpleHead
from diffcov.models.unet import UNet, UNetConfig
from diffcov.prediction import Features
from diffcov.schedule import NoiseSchedule
from diffcov.training.batches import NoisyBatches
from diffcov.training.config import Budget, TrainingConfig
from diffcov.training.heads import HeadObjective, head_covariance
from diffcov.training.loop import BUCKETS, Callbacks, Intervals, LogRecord, train
from diffcov.training.session import Session
from oracles.mixture import MixtureWorld
from oracles.trunks import CountingTrunk, perfect_model

DATA = DataDescription(1, 8, 8, levels=17)
IMAGES = torch.randint(0, 17, (12, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
SCHEDULE = NoiseSchedule.linear(50)
CONFIG = TrainingConfig(batch_size=4, lr=1e-2, ema_decay=0.9)
KINDS = registry.heads()


@pytest.fixture
def model() -> MeanModel:
    """A U-Net with strong dropout and no zero layer, left in train mode by whoever made it; it counts its calls."""
    torch.manual_seed(0)
    trunk = UNet(UNetConfig(1, 8, 8, channels=8, multipliers=(1,), blocks=1, attention=(), heads=1, dropout=0.5))
    with torch.no_grad():
        for parameter in trunk.parameters():
            parameter.normal_(0, 0.2)
    return MeanModel(CountingTrunk(trunk), SCHEDULE, DATA, TimeConvention(1.0, 20.0)).train()


def batches(images: Tensor = IMAGES, data: DataDescription = DATA) -> NoisyBatches:
    return NoisyBatches(images, data, SCHEDULE, CONFIG.batch_size, False, 0)


def fit(model: MeanModel, iterations: int = 5) -> tuple[Session, list[LogRecord]]:
    heads = {kind: SimpleHead(model.feature_channels, model.embedding_width, 1) for kind in KINDS}
    session, records = Session(HeadObjective(model, heads), CONFIG), []
    train(session, batches(), Budget(iterations), Callbacks(on_log=records.append), Intervals(2, math.inf))
    return session, records


def test_the_trunk_does_not_change_by_a_bit(model: MeanModel) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    session, _ = fit(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None and not p.requires_grad for p in model.parameters())
    heads = {id(p) for p in session.objective.module.parameters()}
    assert {id(p) for p in session.parameters} == heads
    assert not heads & {id(p) for p in model.parameters()}


def test_the_trunk_is_in_eval_mode_at_every_call(model: MeanModel) -> None:
    session, _ = fit(model)
    assert model.trunk.modes == [False] * 5
    assert not model.training
    assert session.objective.module.training


def test_dropout_does_not_enter_the_target(model: MeanModel) -> None:
    """The target of a batch is the same twice, and is the eval network's."""
    objective = HeadObjective(model, {"npr": SimpleHead(model.feature_channels, model.embedding_width, 1)})
    batch = batches().at(0)
    first, second = (objective.losses(batch)["npr"] for _ in range(2))
    assert torch.equal(first, second)
    with torch.no_grad():
        eps_hat = model.eval().predict(batch.x_t, batch.t).eps_hat
    zero_head = (batch.eps - eps_hat).square().square().flatten(1).mean(1)
    torch.testing.assert_close(first.detach(), zero_head)


def test_all_kinds_share_one_trunk_call(model: MeanModel) -> None:
    assert len(KINDS) >= 2
    fit(model, iterations=3)
    assert model.trunk.batches == [CONFIG.batch_size] * 3


def test_no_gradient_reaches_the_trunk_even_if_it_could(model: MeanModel) -> None:
    """Somebody unfreezes the trunk after the objective was made: the target stays detached all the same."""
    heads = {kind: SimpleHead(model.feature_channels, model.embedding_width, 1) for kind in KINDS}
    objective = HeadObjective(model, heads)
    model.requires_grad_(True)
    torch.stack([loss.sum() for loss in objective.losses(batches().at(0)).values()]).sum().backward()
    assert all(p.grad is None for p in model.parameters())
    assert all(p.grad is not None for head in heads.values() for p in [head.out[2].bias])


def fitted_kinds(model: MeanModel, kinds: Sequence[str], config: TrainingConfig) -> Session:
    """Each head is initialised by its own seed, as the command does."""
    heads = {}
    for kind in kinds:
        torch.manual_seed(KINDS.index(kind))
        heads[kind] = SimpleHead(model.feature_channels, model.embedding_width, 1)
    session = Session(HeadObjective(model, heads), config)
    train(session, batches(), Budget(5), Callbacks(), Intervals(2, math.inf))
    return session


@pytest.mark.parametrize("clip_norm", [0.0, 1e-3, 1.0])
def test_heads_fitted_together_equal_heads_fitted_alone(model: MeanModel, clip_norm: float) -> None:
    """They share trunk calls and nothing else: neither gradients, nor their norm, nor the optimiser's memory."""
    config = replace(CONFIG, clip_norm=clip_norm, weight_decay=0.01)
    together = fitted_kinds(model, KINDS, config)
    for kind in KINDS:
        alone = fitted_kinds(model, [kind], config)
        for mine, theirs in (
            (alone.objective.module, together.objective.module),
            (alone.ema.module, together.ema.module),
        ):
            expected = theirs.get_submodule(kind).state_dict()
            found = mine.get_submodule(kind).state_dict()
            assert all(torch.equal(found[name], value) for name, value in expected.items())
            assert found["out.2.weight"].any(), "it did learn"


def test_gradients_are_clipped_head_by_head(model: MeanModel) -> None:
    """The norm that is logged is that of all heads together, before clipping."""
    start = {kind: SimpleHead(model.feature_channels, model.embedding_width, 1) for kind in KINDS}
    whole: dict[float, float] = {}
    for limit in (0.0, 1e-3):
        heads, norms, records = copy.deepcopy(start), list[float](), list[LogRecord]()
        session = Session(HeadObjective(model, heads), replace(CONFIG, clip_norm=limit))
        assert list(session.objective.parts) == list(heads.values())

        def read(_: int, heads: dict[str, SimpleHead] = heads, norms: list[float] = norms) -> None:
            grads = [[p.grad for p in head.parameters() if p.grad is not None] for head in heads.values()]
            norms.extend(float(torch.stack([grad.norm() for grad in own]).norm()) for own in grads)

        train(session, batches(), Budget(1), Callbacks(read, records.append), Intervals(1, math.inf))
        whole[limit] = records[0].grad_norm
        expected = [limit] * len(KINDS) if limit else norms
        assert norms == pytest.approx(expected, rel=1e-3)
        assert limit or math.hypot(*norms) == pytest.approx(whole[limit], rel=1e-6)
        assert min(norms) > 0
    assert whole[1e-3] == whole[0.0]


def test_losses_are_per_image_and_logged_by_t(model: MeanModel) -> None:
    heads = {kind: SimpleHead(model.feature_channels, model.embedding_width, 1) for kind in KINDS}
    losses = HeadObjective(model, heads).losses(batches().at(0))
    assert {kind: tuple(loss.shape) for kind, loss in losses.items()} == dict.fromkeys(KINDS, (4,))
    _, records = fit(model)
    for record in records:
        assert set(record.loss_by_t) == set(KINDS)
        assert all(len(by_t) == BUCKETS for by_t in record.loss_by_t.values())
        assert all(any(value is not None for value in by_t) for by_t in record.loss_by_t.values())


@pytest.mark.parametrize("kind", ["small", "corrected", "nonsense"])
def test_only_covariances_with_heads_can_be_fitted(kind: str, model: MeanModel) -> None:
    with pytest.raises(UsageError, match=f"no head of kind '{kind}'; choose from {', '.join(KINDS)}"):
        head_covariance(kind)
    with pytest.raises(UsageError, match="no head of kind"):
        HeadObjective(model, {kind: nn.Identity()})


# --- the mixture world: a head on a perfect trunk must find Var[eps | x_t]

WORLD = MixtureWorld(NoiseSchedule.from_alpha_bar([0.9, 0.6]))
WIDE = DataDescription(1, 8, 8, levels=256, low=-2.0, high=2.0)
"""A range that cuts no tail off, so fine that rounding to a grey level adds 2e-5 to variances of 0.01 and 0.04."""
CLOSE = 0.05
"""E|found - true| / E true over x_t: 500 batches of 4096 pixels leave half of this."""
FAR = 4
"""The best constant's error is at least this many times the head's."""


class PixelHead(nn.Module):
    """One hidden layer on (x_t, t / T), the same at every pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(2, 24, 1), nn.SiLU(), nn.Conv2d(24, 24, 1), nn.SiLU(), nn.Conv2d(24, 1, 1)
        )

    def forward(self, features: Features) -> Tensor:
        out: Tensor = self.layers(features.activations)
        return out


def fitted(bias: float, kinds: tuple[str, ...]) -> tuple[MeanModel, nn.ModuleDict]:
    draw = torch.Generator().manual_seed(1)
    images = WIDE.decode(WORLD.sample((3000, 1, 8, 8), draw))
    model = perfect_model(WORLD, WIDE, bias)
    torch.manual_seed(2)
    config = TrainingConfig(batch_size=64, lr=3e-2, warmup=20, ema_decay=0.99)
    session = Session(HeadObjective(model, {kind: PixelHead() for kind in kinds}), config)
    noisy = NoisyBatches(images, WIDE, WORLD.schedule, 64, False, 4)
    train(session, noisy, Budget(500), Callbacks(), Intervals(500, math.inf))
    averaged = session.ema.module
    assert isinstance(averaged, nn.ModuleDict)
    return model, averaged


def draws(t: int) -> Tensor:
    """(200, 1, 8, 8) x_t that no fit has seen."""
    draw = torch.Generator().manual_seed(100 + t)
    x_0 = WORLD.sample((200, 1, 8, 8), draw)
    eps = torch.randn(x_0.shape, generator=draw, dtype=torch.float64)
    return (WORLD.schedule.alpha_bar[t].sqrt() * x_0 + WORLD.schedule.beta_bar[t].sqrt() * eps).float()


@torch.no_grad()
def compared(model: MeanModel, head: nn.Module, t: int, truth: Tensor) -> None:
    """The head is close to the truth, the best constant is far from it."""
    prediction = model.predict_at(draws(t), t)
    found = head(prediction.features).double()
    scale = truth.mean()
    error = float((found - truth).abs().mean() / scale)
    constant = float((truth.median() - truth).abs().mean() / scale)
    assert error < CLOSE, (t, error)
    assert constant > FAR * error, (t, constant, error)


def test_heads_find_the_mixture_s_variance() -> None:
    """npr = E[(eps - eps_hat)^2 | x_t] = Var[eps | x_t], and sn = E[eps^2 | x_t] = Var + eps_hat^2."""
    model, heads = fitted(bias=0.0, kinds=("npr", "sn"))
    for t in (1, 2):
        x_t = draws(t).double()
        var = WORLD.var_eps(x_t, t)
        compared(model, heads["npr"], t, var)
        compared(model, heads["sn"], t, var + WORLD.eps_hat(x_t, t).square())


def test_with_a_biased_mean_npr_finds_variance_plus_bias_squared() -> None:
    bias = 0.4
    model, heads = fitted(bias, kinds=("npr",))
    for t in (1, 2):
        x_t = draws(t).double()
        compared(model, heads["npr"], t, WORLD.var_eps(x_t, t) + (bias * x_t).square())
