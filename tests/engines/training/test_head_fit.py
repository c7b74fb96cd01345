"""Heads: fitted on a frozen mean in eval mode, all kinds on one call, and true to the closed form."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from diffcov.basis import cosine
from diffcov.covariance import registry
from diffcov.covariance.ingredients import Ingredients
from diffcov.data import DataDescription, Examples
from diffcov.denoiser.base import Denoiser
from diffcov.denoiser.clipped import Clipped
from diffcov.denoiser.guided import Guided
from diffcov.denoiser.mean_model import MeanModel
from diffcov.denoiser.reading import Reading
from diffcov.denoiser.scaled import Scaled
from diffcov.denoiser.time import TimeConvention
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.curvature import look_with_curvature
from diffcov.engines.training.averages import BUCKETS, LogRecord
from diffcov.engines.training.batches import Batch, NoisyBatches
from diffcov.engines.training.config import Budget, TrainingConfig
from diffcov.engines.training.head_fit import HeadObjective, HeadPlan, head_covariance
from diffcov.engines.training.loop import Callbacks, Intervals, train
from diffcov.engines.training.losses import LOSSES
from diffcov.engines.training.session import Session
from diffcov.errors import InputError, UsageError
from diffcov.nets.features import Features
from diffcov.nets.unet import UNet, UNetConfig
from diffcov.nets.variance_head import LINKS, Head
from diffcov.statistics.spectrum import Spectrum
from diffcov.statistics.table import VarianceTable
from oracles.attentive import attentive_model
from oracles.measured import told_spectrum
from oracles.mixture import MixtureWorld
from oracles.quadrature import x_t_grid
from oracles.trunks import counted, perfect_model

DATA = DataDescription(1, 8, 8, levels=17)
IMAGES = torch.randint(0, 17, (12, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
SCHEDULE = NoiseSchedule.linear(50)
CONFIG = TrainingConfig(batch_size=4, lr=1e-2, ema_decay=0.9)
KINDS = registry.heads()
OWN: dict[str, str | None] = dict.fromkeys(KINDS)
"""Each kind by its own loss."""
MIXED: dict[str, str | None] = {"npr": "likelihood", "sn": "squared", "ocm": "squared", "banded": "likelihood"}
OTHERWISE: dict[str, str | None] = {"npr": "squared", "sn": "likelihood", "ocm": "likelihood", "banded": "likelihood"}
PUBLISHED: dict[str, str | None] = dict.fromkeys(("npr", "sn", "ocm"), "squared")


@pytest.fixture
def model() -> MeanModel:
    """A U-Net with strong dropout and no zero layer, left in train mode by whoever made it; it counts its calls."""
    torch.manual_seed(0)
    trunk = UNet(UNetConfig(1, 8, 8, channels=8, multipliers=(1,), blocks=1, attention=(), heads=1, dropout=0.5))
    with torch.no_grad():
        for parameter in trunk.parameters():
            parameter.normal_(0, 0.2)
    return counted(trunk, Reading(SCHEDULE, DATA, TimeConvention(1.0, 20.0))).train()


@cache
def known() -> Ingredients:
    """A table and a spectrum of no particular truth, that differ from time to time and from coefficient to another."""
    error = torch.linspace(0.9, 0.02, SCHEDULE.T + 1, dtype=torch.float64)
    table = VarianceTable(torch.ones(SCHEDULE.T + 1).double(), 1 - error, (1 - error).square(), error, error.square())
    draw = torch.Generator().manual_seed(5)
    levels = {t: torch.rand(DATA.shape, generator=draw, dtype=torch.float64) + 0.1 for t in (1, 25, 50)}
    return Ingredients.of(SCHEDULE, DATA, table, told_spectrum(list(levels), levels.__getitem__, DATA.shape))


def batches(images: Tensor = IMAGES, data: DataDescription = DATA) -> NoisyBatches:
    return NoisyBatches(Examples(images), data, SCHEDULE, CONFIG.batch_size, False, 0)


def heads_of(model: Denoiser, losses: Mapping[str, str | None]) -> tuple[dict[str, Head], dict[str, str]]:
    """(heads, losses by kind) as the command begins them: each initialised by its own seed."""
    plans = [HeadPlan.of(kind, loss, "simple") for kind, loss in losses.items()]
    heads = {}
    for plan in plans:
        torch.manual_seed(KINDS.index(plan.kind))
        heads[plan.kind] = plan.spec(model).build(plan.start(known()))
    return heads, {plan.kind: plan.loss for plan in plans}


def objective_of(model: Denoiser, losses: Mapping[str, str | None]) -> HeadObjective:
    return HeadObjective(model, *heads_of(model, losses), dict.fromkeys(losses, known()))


def fit(model: MeanModel, iterations: int = 5) -> tuple[Session, list[LogRecord]]:
    session, records = Session(objective_of(model, OWN), CONFIG), []
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
    assert model.network.modes == [False] * 5
    assert not model.training
    assert session.objective.module.training


@pytest.mark.parametrize("losses", [PUBLISHED, OWN], ids=["published", "own"])
def test_dropout_does_not_enter_the_targets(model: MeanModel, losses: dict[str, str | None]) -> None:
    """The targets of a batch, curvature included, are the same twice."""
    objective = objective_of(model, losses)
    batch = batches().at(0)
    first, second = (objective.losses(batch) for _ in range(2))
    assert all(torch.equal(first[kind], second[kind]) for kind in losses)


def clipped_eps(x_t: Tensor, t: Tensor, eps_hat: Tensor) -> Tensor:
    """The noise that goes with x0_hat clipped to the data's range."""
    a, b = (values[t].sqrt()[:, None, None, None] for values in (SCHEDULE.alpha_bar, SCHEDULE.beta_bar))
    x0_hat = ((x_t.double() - b * eps_hat) / a).clamp(DATA.low, DATA.high)
    return ((x_t - a * x0_hat) / b).float()


def squared_coefficients(error: Tensor, t: Tensor) -> Tensor:
    """(U error)^2 over its mean in the spectrum, U the plain cosine transform."""
    mean = known()[Spectrum].var_eps(SCHEDULE, t)
    return (cosine(*DATA.shape).forward(error.double()).square() / mean).float()


def test_unfitted_published_heads_lose_the_squares_of_their_targets(model: MeanModel) -> None:
    """Each published target by hand: (eps - eps_hat)^2, eps^2 and bbar v * (H v) = -sqrt(bbar) v * (J v), from zero."""
    objective, batch = objective_of(model, PUBLISHED), batches().at(0)
    found = objective.losses(batch)
    with torch.no_grad():
        eps_hat = model.eval().look(batch.x_t, batch.t).eps_hat
    _, curvature = look_with_curvature(model, batch.x_t, batch.t, batch.signs())
    std = SCHEDULE.beta_bar.sqrt().float()[batch.t][:, None, None, None]
    targets = {"npr": (batch.eps - eps_hat).square(), "sn": batch.eps.square(), "ocm": -std * curvature}
    for kind, target in targets.items():
        expected = target.square().flatten(1).mean(1)
        torch.testing.assert_close(found[kind].detach(), expected, rtol=1e-4, atol=1e-6)


def test_unfitted_heads_lose_what_their_start_does(model: MeanModel) -> None:
    """target / start + log start, with the table's error, 1 and the spectrum as the starts.

    npr takes the error of the network's own eps_hat, banded that of the mean clipped to the data's range, which here
    is another.
    """
    objective, batch = objective_of(model, OWN), batches().at(0)
    found = objective.losses(batch)
    with torch.no_grad():
        eps_hat = model.eval().look(batch.x_t, batch.t).eps_hat
    clipped = clipped_eps(batch.x_t, batch.t, eps_hat)
    assert float((clipped - eps_hat).abs().mean()) > 0.1
    _, curvature = look_with_curvature(model, batch.x_t, batch.t, batch.signs())
    std = SCHEDULE.beta_bar.sqrt().float()[batch.t][:, None, None, None]
    error = known()[VarianceTable].error_moments.mean().float()[batch.t][:, None, None, None]
    one = torch.ones(4, 1, 1, 1)
    expected = {
        "npr": ((batch.eps - eps_hat).square(), error),
        "sn": (batch.eps.square(), one),
        "ocm": (1 - std * curvature, error),
        "banded": (squared_coefficients(batch.eps - clipped, batch.t), one),
    }
    assert expected.keys() == found.keys()
    for kind, (target, start) in expected.items():
        loss = (target / start + start.log()).flatten(1).mean(1)
        torch.testing.assert_close(found[kind].detach(), loss, rtol=1e-4, atol=1e-5)


def test_all_kinds_share_one_trunk_call(model: MeanModel) -> None:
    """Also where one of them needs the curvature: it comes with the prediction."""
    assert any(head_covariance(kind).needs_curvature for kind in KINDS)
    fit(model, iterations=3)
    assert model.network.batches == [CONFIG.batch_size] * 3


def test_kinds_that_do_not_need_the_curvature_do_not_pay_for_it(model: MeanModel) -> None:
    """Signs are not even drawn."""

    def unwanted() -> Tensor:
        raise AssertionError("nobody needs signs")

    batch = replace(batches().at(0), signs=unwanted)
    objective_of(model, {kind: None for kind in KINDS if not head_covariance(kind).needs_curvature}).losses(batch)
    with pytest.raises(AssertionError, match="nobody needs signs"):
        objective_of(model, {"ocm": None}).losses(batch)


def test_no_gradient_reaches_the_trunk_even_if_it_could(model: MeanModel) -> None:
    """Somebody unfreezes the trunk after the objective was made: the targets stay detached all the same."""
    objective = objective_of(model, OWN)
    model.requires_grad_(True)
    torch.stack([loss.sum() for loss in objective.losses(batches().at(0)).values()]).sum().backward()
    assert all(p.grad is None for p in model.parameters())
    for head in objective.heads.values():
        assert all(p.grad is not None for p in list(head.parameters())[-1:])


class ChannelsLast(nn.Module):
    """A network whose features have their channels side by side in memory, as compiled ones and a user's may have."""

    def __init__(self, trunk: UNet) -> None:
        super().__init__()
        self.trunk, self.feature_channels, self.embedding_width = trunk, trunk.feature_channels, trunk.embedding_width

    def forward(self, x: Tensor, times: Tensor) -> tuple[Tensor, Features]:
        output, features = self.trunk(x, times)
        return output, Features(features.activations.contiguous(memory_format=torch.channels_last), features.embedding)


def test_the_order_of_features_in_memory_does_not_matter() -> None:
    """In torch 2.13 the gradient of a group norm over such activations ends the process."""
    plain = mean_of()
    other = MeanModel(ChannelsLast(bare_network()), plain.reading).freeze()
    batch = batches().at(0)
    for model in (plain, other):
        objective = objective_of(model, OWN)
        looks = objective._looks(batch)
        assert all(part.is_contiguous() for look in looks.values() for part in look.features)
    losses, expected = (objective_of(model, OWN).losses(batch) for model in (other, plain))
    torch.stack([loss.sum() for loss in losses.values()]).sum().backward()
    assert_losses(losses, expected)


def fitted_heads(model: MeanModel, losses: Mapping[str, str | None], config: TrainingConfig) -> Session:
    session = Session(objective_of(model, losses), config)
    train(session, batches(), Budget(5), Callbacks(), Intervals(2, math.inf))
    return session


@pytest.mark.parametrize("losses", [OWN, MIXED, OTHERWISE], ids=["own losses", "mixed losses", "otherwise mixed"])
@pytest.mark.parametrize("clip_norm", [0.0, 1e-3, 1.0])
@pytest.mark.parametrize("precision", [None, torch.bfloat16], ids=["fp32", "bf16"])
def test_heads_fitted_together_equal_heads_fitted_alone(
    clip_norm: float, losses: dict[str, str | None], precision: torch.dtype | None
) -> None:
    """They share trunk calls and nothing else: neither gradients, nor their norm, nor the optimiser's memory.

    To the bit, on a trunk with attention, although one of them needs a derivative of it and the others do not.
    """
    model = attentive_model(DATA.shape, precision, dropout=0.5)
    config = replace(CONFIG, clip_norm=clip_norm, weight_decay=0.01)
    together = fitted_heads(model, losses, config)
    for kind in KINDS:
        alone = fitted_heads(model, {kind: losses[kind]}, config)
        for mine, theirs in (
            (alone.objective.module, together.objective.module),
            (alone.ema.module, together.ema.module),
        ):
            expected = theirs.get_submodule(kind).state_dict()
            found = mine.get_submodule(kind).state_dict()
            assert all(torch.equal(found[name], value) for name, value in expected.items()), kind
            last = [name for name in found if name.endswith("weight")][-1]
            assert found[last].any(), "it did learn"


def test_gradients_are_clipped_head_by_head(model: MeanModel) -> None:
    """The norm that is logged is that of all heads together, before clipping."""
    start, losses = heads_of(model, OWN)
    whole: dict[float, float] = {}
    for limit in (0.0, 1e-3):
        heads, norms, records = copy.deepcopy(start), list[float](), list[LogRecord]()
        objective = HeadObjective(model, heads, losses, dict.fromkeys(KINDS, known()))
        session = Session(objective, replace(CONFIG, clip_norm=limit))
        assert list(session.objective.parts) == list(heads.values())

        def read(_: int, heads: dict[str, Head] = heads, norms: list[float] = norms) -> None:
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
    losses = objective_of(model, OWN).losses(batches().at(0))
    assert {kind: tuple(loss.shape) for kind, loss in losses.items()} == dict.fromkeys(KINDS, (4,))
    _, records = fit(model)
    for record in records:
        assert set(record.loss_by_t) == set(KINDS)
        assert all(len(by_t) == BUCKETS for by_t in record.loss_by_t.values())
        assert all(any(value is not None for value in by_t) for by_t in record.loss_by_t.values())


# --- other means: what they predict, how they are seen, and what they are told


def bare_network(classes: int = 0) -> UNet:
    """As that of :func:`model`, without dropout."""
    torch.manual_seed(0)
    config = UNetConfig(
        1, 8, 8, channels=8, multipliers=(1,), blocks=1, attention=(), heads=1, dropout=0.0, classes=classes
    )
    network = UNet(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.2)
    return network


def mean_of(predicts: str = "eps", classes: int = 0, schedule: NoiseSchedule = SCHEDULE) -> MeanModel:
    reading = Reading(schedule, DATA, TimeConvention(1.0, 20.0), predicts, classes)
    return MeanModel(bare_network(classes), reading).freeze()


def expected_losses(denoiser: Denoiser, batch: Batch) -> dict[str, Tensor]:
    """Of unfitted heads by their own losses, from one look and its curvature."""
    labels = batch.labels if denoiser.classes else None
    look, curvature = look_with_curvature(denoiser, batch.x_t, batch.t, batch.signs(), labels)
    std = SCHEDULE.beta_bar.sqrt().float()[batch.t][:, None, None, None]
    error = known()[VarianceTable].error_moments.mean().float()[batch.t][:, None, None, None]
    one = torch.ones(4, 1, 1, 1)
    clipped = clipped_eps(batch.x_t, batch.t, look.eps_hat)
    targets = {
        "npr": ((batch.eps - look.eps_hat).square(), error),
        "sn": (batch.eps.square(), one),
        "ocm": (1 - std * curvature, error),
        "banded": (squared_coefficients(batch.eps - clipped, batch.t), one),
    }
    return {kind: (target / start + start.log()).flatten(1).mean(1) for kind, (target, start) in targets.items()}


def assert_losses(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for kind, loss in expected.items():
        torch.testing.assert_close(found[kind].detach(), loss, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("predicts", ["eps", "v", "x0"])
def test_targets_are_those_of_noise_whatever_the_network_predicts(predicts: str) -> None:
    mean, batch = mean_of(predicts), batches().at(0)
    assert_losses(objective_of(mean, OWN).losses(batch), expected_losses(mean, batch))


def test_heads_are_fitted_to_the_scaled_mean() -> None:
    """Its error and its slope; what sn regresses knows nothing of the mean, and the clip comes after the scale."""
    mean, batch = mean_of(), batches().at(0)
    scaled = Scaled(mean, 1.5)
    found = objective_of(scaled, OWN).losses(batch)
    assert_losses(found, expected_losses(scaled, batch))
    plain = objective_of(mean, OWN).losses(batch)
    assert torch.equal(found["sn"], plain["sn"])
    assert not any(torch.isclose(found[kind], plain[kind]).any() for kind in ("npr", "ocm", "banded"))


def labelled(label_dropout: float = 0.0) -> NoisyBatches:
    labels = torch.arange(12) % 3
    return NoisyBatches(Examples(IMAGES, labels), DATA, SCHEDULE, CONFIG.batch_size, False, 0, label_dropout)


def test_a_mean_with_classes_is_told_the_labels() -> None:
    mean, batch = mean_of(classes=3), labelled(0.5).at(2)
    assert batch.labels is not None
    assert {-1} < set(batch.labels.tolist())
    found = objective_of(mean, OWN).losses(batch)
    assert_losses(found, expected_losses(mean, batch))
    other = objective_of(mean, OWN).losses(replace(batch, labels=(batch.labels + 1) % 3))
    assert not torch.isclose(found["npr"], other["npr"]).any()


def test_a_mean_without_classes_is_not_told_them() -> None:
    mean = mean_of()
    found, plain = objective_of(mean, OWN).losses(labelled().at(0)), objective_of(mean, OWN).losses(batches().at(0))
    assert all(torch.equal(found[kind], plain[kind]) for kind in KINDS)


def test_heads_of_a_guided_mean_regress_the_guided_error() -> None:
    """(1 - W) of the look without the label and W of that with it; features are those with it."""
    mean, batch = mean_of(classes=3), labelled().at(0)
    guided = Guided(mean, 2.5)
    found = objective_of(guided, OWN).losses(batch)
    assert_losses(found, expected_losses(guided, batch))
    away, towards = (mean.look(batch.x_t, batch.t, cond).eps_hat for cond in (None, batch.labels))
    error = known()[VarianceTable].error_moments.mean().float()[batch.t][:, None, None, None]
    target = (batch.eps - away - 2.5 * (towards - away)).square()
    expected = (target / error + error.log()).flatten(1).mean(1)
    torch.testing.assert_close(found["npr"].detach(), expected, rtol=1e-4, atol=1e-5)


def test_where_nothing_of_the_data_is_left_the_error_is_that_of_x_0() -> None:
    """alpha_bar_T = 0: the error of v is x_0's own, and that is what npr regresses there; eps is known exactly."""
    ending = NoiseSchedule.from_betas([*torch.linspace(1e-3, 0.3, 49, dtype=torch.float64).tolist(), 1.0])
    mean, batch = mean_of("v", schedule=ending), batches().at(0)
    batch = replace(batch, t=torch.tensor([50, 10, 50, 50]))
    a, b = (values[batch.t].sqrt()[:, None, None, None].float() for values in (ending.alpha_bar, ending.beta_bar))
    batch = replace(batch, x_t=a * batch.x_0 + b * batch.eps)
    objective = objective_of(mean, {"npr": "squared"})
    look = mean.look(batch.x_t, batch.t)
    error = (batch.x_0 - look.x0_hat).square()
    error[1] = (batch.eps[1] - look.eps_hat[1]).square()
    expected = error.square().flatten(1).mean(1)
    torch.testing.assert_close(objective.losses(batch)["npr"].detach(), expected, rtol=1e-4, atol=1e-6)
    assert float(expected.min()) > 1e-3


def test_a_clipped_mean_is_refused() -> None:
    mean = mean_of()
    for denoiser in (Clipped(mean), Clipped(Scaled(mean, 1.1))):
        with pytest.raises(UsageError, match="heads are fitted on a mean that is not clipped"):
            objective_of(denoiser, OWN)


# --- plans


@pytest.mark.parametrize("kind", ["small", "corrected", "spectral", "nonsense"])
def test_only_covariances_with_heads_can_be_fitted(kind: str, model: MeanModel) -> None:
    refusal = f"no head of kind '{kind}'; choose from {', '.join(KINDS)}"
    with pytest.raises(UsageError, match=refusal):
        head_covariance(kind)
    with pytest.raises(UsageError, match=refusal):
        HeadPlan(kind, "likelihood", "simple")
    with pytest.raises(UsageError, match="no head of kind"):
        HeadObjective(model, {kind: nn.Identity()}, {kind: "likelihood"}, {kind: known()})


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_fitted_by_likelihood_unless_told_otherwise(kind: str) -> None:
    assert HeadPlan.of(kind, None, "complex").loss == "likelihood"


@pytest.mark.parametrize("kind", ["npr", "sn", "ocm"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("network", ["simple", "complex", "stem"])
def test_a_plan_is_what_was_asked_for(kind: str, loss: str, network: str) -> None:
    assert HeadPlan.of(kind, loss, network) == HeadPlan(kind, loss, network)


def test_a_kind_of_other_networks_takes_its_own() -> None:
    """``--head complex`` is meant for the heads per pixel."""
    assert HeadPlan.of("banded", None, "complex") == HeadPlan("banded", "likelihood", "bands")


@pytest.mark.parametrize("kind", KINDS)
def test_features_that_are_only_the_inputs_get_a_stem_where_the_kind_knows_one(kind: str) -> None:
    plan = HeadPlan.of(kind, None, "complex", plain_features=True)
    assert plan == HeadPlan(kind, "likelihood", "bands" if kind == "banded" else "stem")


@pytest.mark.parametrize(
    ("kind", "loss", "message"),
    [
        ("banded", "squared", "a head of kind banded is fitted by likelihood, not by squared"),
        ("npr", "huber", "a head of kind npr is fitted by likelihood or squared, not by huber"),
    ],
)
def test_a_loss_that_a_kind_does_not_know(kind: str, loss: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        HeadPlan.of(kind, loss, "simple")


@pytest.mark.parametrize(
    ("kind", "lacks"), [("npr", "a variance table"), ("ocm", "a variance table"), ("banded", "a spectrum")]
)
def test_a_start_that_was_not_measured(kind: str, lacks: str) -> None:
    plan = HeadPlan.of(kind, None, "simple")
    message = f"a {kind} head fitted by likelihood starts from {lacks} and none was found; run: diffcov estimate-var"
    for ask in (plan.require, plan.start):
        with pytest.raises(InputError, match=message):
            ask(Ingredients.of(SCHEDULE, DATA))
        ask(known())


@pytest.mark.parametrize(("kind", "start"), [("npr", 0.0), ("sn", 0.0), ("ocm", 1.0)])
def test_published_starts_need_nothing(kind: str, start: float) -> None:
    """Zero; and for ocm 1, because our head is 1 plus the published one."""
    plan = HeadPlan(kind, "squared", "simple")
    found = plan.start(Ingredients.of(SCHEDULE, DATA))
    assert torch.equal(found, torch.full((SCHEDULE.T + 1,), start, dtype=torch.float64))


def test_a_plan_s_head_fits_its_trunk(model: MeanModel) -> None:
    for kind, loss in MIXED.items():
        spec = HeadPlan.of(kind, loss, "complex").spec(model)
        assert (spec.kind, spec.shape, spec.timesteps) == (kind, DATA.shape, SCHEDULE.T)
        assert (spec.feature_channels, spec.embedding_width) == (model.feature_channels, model.embedding_width)
        assert spec.link == {"likelihood": "log", "squared": "identity"}[loss or ""]
        assert spec.network == ("bands" if kind == "banded" else "complex")


# --- the mixture world: a head on a perfect trunk must find Var[eps | x_t]

WORLD = MixtureWorld(NoiseSchedule.from_alpha_bar([0.9, 0.6]))
WIDE = DataDescription(1, 8, 8, levels=256, low=-2.0, high=2.0)
"""A range that cuts no tail off, so fine that rounding to a grey level adds 2e-5 to variances of 0.01 and 0.04."""
CLOSE = 0.05
"""E|found - true| / E true over x_t: 500 batches of 4096 pixels leave half of this."""
NOISELESS = 250
"""Iterations for a target that is its own mean: with independent pixels v * (J v) is the diagonal for all signs."""
FAR = 4
"""The best constant's error is at least this many times the head's."""


class PixelNet(nn.Module):
    """One hidden layer on (x_t, t / T), the same at every pixel; zero at first."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(2, 24, 1), nn.SiLU(), nn.Conv2d(24, 24, 1), nn.SiLU(), nn.Conv2d(24, 1, 1)
        )
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)

    def forward(self, features: Features) -> Tensor:
        out: Tensor = self.layers(features.activations)
        return out


def table_of(world: MixtureWorld, bias: float) -> VarianceTable:
    """E(eps - eps_hat)^2 = E[Var[eps | x_t] + (bias x_t)^2], by quadrature."""
    found = VarianceTable.empty(world.schedule.T)
    for t in range(1, world.schedule.T + 1):
        x_t, weights = x_t_grid(world, t)
        found.count[t] = 1
        found.error_sq[t] = (weights * (world.var_eps(x_t, t) + (bias * x_t).square())).sum()
    return found


@cache
def fitted(
    bias: float, kinds: Sequence[str], loss: str, world: MixtureWorld = WORLD, iterations: int = 500
) -> tuple[MeanModel, nn.ModuleDict]:
    draw = torch.Generator().manual_seed(1)
    images = WIDE.decode(world.sample((3000, 1, 8, 8), draw))
    model = perfect_model(world, WIDE, bias)
    measured = Ingredients.of(world.schedule, WIDE, table_of(world, bias))
    torch.manual_seed(2)
    heads = {}
    for kind in kinds:
        plan = HeadPlan(kind, loss, "simple")
        heads[kind] = Head(PixelNet(), LINKS[plan.spec(model).link], plan.spec(model).reach, plan.start(measured))
    config = TrainingConfig(batch_size=64, lr=3e-2, warmup=20, ema_decay=0.99)
    objective = HeadObjective(model, heads, dict.fromkeys(kinds, loss), dict.fromkeys(kinds, measured))
    session = Session(objective, config)
    noisy = NoisyBatches(Examples(images), WIDE, world.schedule, 64, False, 4)
    train(session, noisy, Budget(iterations), Callbacks(), Intervals(500, math.inf))
    averaged = session.ema.module
    assert isinstance(averaged, nn.ModuleDict)
    return model, averaged


def draws(t: int, world: MixtureWorld = WORLD) -> Tensor:
    """(200, 1, 8, 8) x_t that no fit has seen."""
    draw = torch.Generator().manual_seed(100 + t)
    x_0 = world.sample((200, 1, 8, 8), draw)
    eps = torch.randn(x_0.shape, generator=draw, dtype=torch.float64)
    return (world.schedule.alpha_bar[t].sqrt() * x_0 + world.schedule.beta_bar[t].sqrt() * eps).float()


@torch.no_grad()
def errors(model: MeanModel, head: nn.Module, x_t: Tensor, t: int, truth: Tensor) -> tuple[float, float]:
    """E|found - true| / E true, of the head and of the best constant."""
    look = model.look(x_t, t)
    found = head(look.features, torch.full((len(x_t),), t)).double()
    scale = truth.mean()
    return float((found - truth).abs().mean() / scale), float((truth.median() - truth).abs().mean() / scale)


def compared(model: MeanModel, head: nn.Module, t: int, truth: Tensor) -> None:
    """The head is close to the truth, the best constant is far from it."""
    error, constant = errors(model, head, draws(t), t, truth)
    assert error < CLOSE, (t, error)
    assert constant > FAR * error, (t, constant, error)


@pytest.mark.parametrize("loss", ["likelihood", pytest.param("squared", marks=pytest.mark.slow)])
def test_heads_find_the_mixture_s_variance(loss: str) -> None:
    """npr = E[(eps - eps_hat)^2 | x_t] = Var[eps | x_t] = ocm, and sn = E[eps^2 | x_t] = Var + eps_hat^2."""
    model, heads = fitted(0.0, ("npr", "sn"), loss)
    _, curved = fitted(0.0, ("ocm",), loss, iterations=NOISELESS)
    for t in (1, 2):
        x_t = draws(t).double()
        var = WORLD.var_eps(x_t, t)
        compared(model, heads["npr"], t, var)
        compared(model, curved["ocm"], t, var)
        compared(model, heads["sn"], t, var + WORLD.eps_hat(x_t, t).square())


@pytest.mark.parametrize("loss", [pytest.param("likelihood", marks=pytest.mark.slow), "squared"])
def test_with_a_biased_mean_npr_finds_variance_plus_bias_squared_and_ocm_the_slope(loss: str) -> None:
    """Of a bias b(x_t) = bias x_t npr sees b^2, and ocm sees -sqrt(bbar) b' alone: it trusts the mean."""
    bias = -0.4
    model, heads = fitted(bias, ("npr",), loss)
    _, curved = fitted(bias, ("ocm",), loss, iterations=NOISELESS)
    for t in (1, 2):
        x_t = draws(t).double()
        var = WORLD.var_eps(x_t, t)
        compared(model, heads["npr"], t, var + (bias * x_t).square())
        compared(model, curved["ocm"], t, var - WORLD.schedule.beta_bar[t].sqrt() * bias)


@pytest.mark.slow
def test_squared_error_also_finds_a_mean_below_zero() -> None:
    """A mean that is too steep takes 1 - sqrt(bbar) J below 0 in places, as published; the clip mends it later.

    Likelihood cannot: its head is positive, and its loss has no minimum where the target's mean is not.
    """
    bias = 0.4
    model, heads = fitted(bias, ("ocm",), "squared")
    for t in (1, 2):
        truth = WORLD.var_eps(draws(t).double(), t) - WORLD.schedule.beta_bar[t].sqrt() * bias
        assert float((truth < 0).double().mean()) > 0.05
        error, _ = errors(model, heads["ocm"], draws(t), t, truth)
        var = WORLD.var_eps(draws(t).double(), t)
        assert error * float(truth.mean() / var.mean()) < CLOSE, (
            "in units of the variance: the slope cancels most of it"
        )


# --- why likelihood is the default: targets that fall by orders of magnitude over t

STEEP = MixtureWorld(NoiseSchedule.from_alpha_bar([0.9, 0.02]))
"""Var[eps | x_t] is 40 times smaller at the second time than at the first, its square 1600 times."""
FEW = 150
"""Iterations."""
BETTER = 20
"""So many times closer likelihood is to the truth than squared error, where targets are small; found: 80 and 470."""


def test_likelihood_finds_small_variances_where_squared_error_does_not() -> None:
    """The same network, rate and few iterations: squared error serves the first time and leaves the second.

    Relative errors E|found - true| / E true. For likelihood every time weighs alike, so it is close at both, and ocm,
    whose target has little noise, also finds there what no constant says.
    """
    error: dict[tuple[str, int], float] = {}
    constant: dict[int, float] = {}
    for loss in LOSSES:
        model, heads = fitted(0.0, ("npr", "ocm"), loss, STEEP, FEW)
        for t in (1, 2):
            x_t = draws(t, STEEP)
            truth = STEEP.var_eps(x_t.double(), t)
            for kind in heads:
                error[kind, loss, t], constant[t] = errors(model, heads[kind], x_t, t, truth)
    for kind in ("npr", "ocm"):
        assert max(error[kind, loss, 1] for loss in LOSSES) < 2 * CLOSE
        assert error[kind, "likelihood", 2] < CLOSE
        assert error[kind, "squared", 2] > BETTER * error[kind, "likelihood", 2]
    assert FAR * error["ocm", "likelihood", 2] < constant[2]
