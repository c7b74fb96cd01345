"""The loop: resumable bit for bit, deaf to logging and saving, and stopping when it should."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from diffcov.data import DataDescription, Examples
from diffcov.denoiser.mean_model import MeanModel
from diffcov.denoiser.reading import Reading
from diffcov.denoiser.spec import MeanSpec
from diffcov.denoiser.time import TimeConvention
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.engines.training.averages import BUCKETS, LogRecord
from diffcov.engines.training.batches import Batch, NoisyBatches
from diffcov.engines.training.config import Budget, TrainingConfig
from diffcov.engines.training.loop import Callbacks, Intervals, train
from diffcov.engines.training.mean_fit import MeanObjective
from diffcov.engines.training.session import Session
from diffcov.errors import InputError, NonFiniteError, UsageError
from diffcov.nets.ema import ema_decay
from diffcov.nets.unet import UNetConfig
from diffcov.store.state import StateProgress, load_state, save_state

DATA = DataDescription(1, 8, 8, levels=17)
NETWORK = UNetConfig(1, 8, 8, channels=8, multipliers=(1,), blocks=1, attention=(), heads=1, dropout=0.1)
SPEC = MeanSpec(NETWORK, Reading(NoiseSchedule.linear(50), DATA, TimeConvention(1.0, 20.0)))
CONFIG = TrainingConfig(batch_size=4, lr=1e-3, warmup=5, weight_decay=0.01, ema_decay=0.99, flip=True, seed=11)
QUIET = Intervals(log_every=3, save_seconds=math.inf)
IMAGES = torch.randint(0, 17, (10, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def session(config: TrainingConfig = CONFIG, objective: type[MeanObjective] = MeanObjective) -> Session:
    """A fresh training, always from the same weights."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return Session(objective(SPEC.build()), config)


def batches(config: TrainingConfig = CONFIG) -> NoisyBatches:
    return NoisyBatches(Examples(IMAGES), DATA, SPEC.reading.schedule, config.batch_size, config.flip, config.seed)


def trained(current: Session, iterations: int, callbacks: Callbacks | None = None, **intervals: float) -> Session:
    spoken = replace(QUIET, **intervals)
    assert train(current, batches(current.config), Budget(iterations), callbacks or Callbacks(), spoken)
    return current


def state(current: Session) -> dict[str, Tensor]:
    """Everything that was learned; the clock is no part of it."""
    return {name: value.clone() for name, value in current.tensors().items() if name != "seconds"}


def assert_same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    different = [name for name in a if not torch.equal(a[name], b[name])]
    assert not different


def test_training_lowers_the_loss() -> None:
    losses: list[float] = []
    config = replace(CONFIG, lr=1e-2, warmup=0)
    callbacks = Callbacks(on_log=lambda record: losses.append(record.loss))
    train(session(config), batches(config), Budget(60), callbacks, replace(QUIET, log_every=20))
    assert losses[-1] < 0.9 * losses[0]


# --- the optimiser


class Silent(MeanObjective):
    """Its loss pulls nowhere."""

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        return {name: 0 * loss for name, loss in super().losses(batch).items()}


def test_weight_decay_is_decoupled() -> None:
    """AdamW: without a gradient a step is a factor 1 - lr wd; in plain Adam it would be lr, whatever the weight."""
    config = replace(CONFIG, lr=1e-2, warmup=0, weight_decay=0.5, clip_norm=0.0)
    current = session(config, Silent)
    with torch.no_grad():
        for parameter in current.parameters:
            parameter.normal_()
    before = [p.detach().clone().double() for p in current.parameters]
    trained(current, 1)
    for old, new in zip(before, current.parameters, strict=True):
        torch.testing.assert_close(new.detach().double(), old * (1 - 1e-2 * 0.5), rtol=2e-7, atol=1e-12)


def test_adam_s_moments() -> None:
    assert session().optimizer.defaults["betas"] == (0.9, 0.999)
    assert session().optimizer.defaults["eps"] == 1e-8
    assert session().optimizer.defaults["weight_decay"] == CONFIG.weight_decay


@pytest.mark.parametrize("stop", [1, 5, 8])
def test_resumed_equals_uninterrupted_bit_for_bit(tmp_path: Path, stop: int) -> None:
    """2n = n + save + load + n: weights, average, optimiser; with dropout and flips, through the file."""
    whole = state(trained(session(), 10))
    first = trained(session(), stop)
    done = StateProgress(stop, True, stop, None, "")
    save_state(tmp_path / "state.safetensors", first.tensors(), CONFIG.as_dict(), done)
    torch.manual_seed(12345)
    second = session(replace(CONFIG))
    with torch.no_grad():
        for parameter in second.parameters:
            parameter.normal_()
    second.restore(load_state(tmp_path / "state.safetensors")[0])
    assert second.iteration == stop
    assert_same(state(trained(second, 10)), whole)
    names = whole.keys()
    assert {name.split(".")[0] for name in names} == {"model", "ema", "optimizer", "iteration", "ema_updates"}


def test_dropout_and_flips_do_matter_here() -> None:
    """Or the parity above would prove little."""
    flipped, plain = (state(trained(session(c), 3)) for c in (CONFIG, replace(CONFIG, flip=False)))
    assert not torch.equal(flipped["model.out.2.weight"], plain["model.out.2.weight"])
    batch = batches().at(0)
    current = session()
    assert any(module.training for module in current.objective.module.modules())
    with torch.no_grad():
        for parameter in current.parameters:
            parameter.normal_(0, 0.1)
        losses = [current.objective.losses(batch)["mean"] for _ in range(2)]
    assert not torch.equal(*losses)


def test_logging_saving_and_previews_change_nothing() -> None:
    def noisy(_: object) -> None:
        torch.randn(100)
        torch.manual_seed(0)

    expected = state(trained(session(), 7))
    callbacks = Callbacks(on_step=noisy, on_log=noisy, on_save=noisy, on_preview=noisy)
    for intervals in ({"log_every": 1}, {"save_seconds": 0.0}, {"preview_seconds": 0.0}, {"log_every": 100}):
        assert_same(state(trained(session(), 7, callbacks, **intervals)), expected)


def test_the_caller_s_random_numbers_are_left_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    trained(session(), 2)
    assert torch.equal(torch.get_rng_state(), before)


def test_seeds_differ() -> None:
    a, b = (state(trained(session(replace(CONFIG, seed=seed)), 2)) for seed in (1, 2))
    assert not torch.equal(a["model.out.2.bias"], b["model.out.2.bias"])


# --- the average


def test_ema_follows_its_formula() -> None:
    current = session()
    expected = {name: p.detach().clone().double() for name, p in current.objective.module.named_parameters()}

    def follow(iteration: int) -> None:
        decay = ema_decay(CONFIG.ema_decay, iteration - 1)
        for name, p in current.objective.module.named_parameters():
            expected[name] = decay * expected[name] + (1 - decay) * p.detach().double()

    trained(current, 8, Callbacks(on_step=follow))
    raw = dict(current.objective.module.named_parameters())
    float32 = {"rtol": 1e-5, "atol": 1e-7}
    for name, averaged in current.ema.module.named_parameters():
        torch.testing.assert_close(averaged.double(), expected[name], **float32)
    assert any(not torch.equal(p, raw[name]) for name, p in current.ema.module.named_parameters())
    assert not any(module.training for module in current.ema.module.modules())


# --- what is logged


def logged(iterations: int, log_every: int) -> list[LogRecord]:
    found: list[LogRecord] = []
    trained(session(), iterations, Callbacks(on_log=found.append), log_every=log_every)
    return found


def test_records_come_at_every_interval_and_at_the_end() -> None:
    assert [record.iteration for record in logged(10, 4)] == [4, 8, 10]
    assert [record.iteration for record in logged(8, 4)] == [4, 8]
    assert [record.iteration for record in logged(3, 100)] == [3]


def test_a_record_is_the_average_of_its_interval() -> None:
    single, double = logged(6, 1), logged(6, 2)
    for i, record in enumerate(double):
        pair = single[2 * i : 2 * i + 2]
        assert record.loss == pytest.approx(sum(r.loss for r in pair) / 2, rel=1e-9)
        assert record.grad_norm == pytest.approx(sum(r.grad_norm for r in pair) / 2, rel=1e-6)


def test_losses_by_t_average_to_the_loss() -> None:
    """At T = 50 and batches of 4, each bucket's share is what the times say."""
    for n, record in enumerate(logged(5, 1)):
        by_t = record.loss_by_t["mean"]
        assert len(by_t) == BUCKETS
        counts = torch.bincount((batches().at(n).t - 1) * BUCKETS // 50, minlength=BUCKETS).tolist()
        assert [value is None for value in by_t] == [count == 0 for count in counts]
        total = sum(value * count for value, count in zip(by_t, counts, strict=True) if value is not None)
        assert total / CONFIG.batch_size == pytest.approx(record.loss, rel=1e-9)


def test_learning_rate_warms_up() -> None:
    assert [record.lr for record in logged(7, 1)] == pytest.approx([1e-3 * min(1, n / 5) for n in range(1, 8)])


@pytest.mark.parametrize("warmup", [0, 1, 3])
def test_the_logged_learning_rate_is_the_one_that_steps(warmup: int) -> None:
    config = replace(CONFIG, warmup=warmup)
    current = session(config)
    used: list[float] = []
    records: list[LogRecord] = []
    callbacks = Callbacks(lambda _: used.append(current.optimizer.param_groups[0]["lr"]), records.append)
    trained(current, 5, callbacks, log_every=1)
    assert [record.lr for record in records] == used
    assert used == pytest.approx([1e-3 * (min(1, n / warmup) if warmup else 1) for n in range(1, 6)])


def test_clip_norm_bounds_the_step_and_zero_does_not_clip() -> None:
    """grad_norm is logged before clipping; SGD-like first Adam steps hide the norm, so read the gradients."""
    for limit in (0.01, 0.0):
        norms: list[float] = []
        current = session(replace(CONFIG, clip_norm=limit))

        def read(_: int, current: Session = current, norms: list[float] = norms) -> None:
            norms.append(float(torch.stack([p.grad.norm() for p in current.parameters if p.grad is not None]).norm()))

        records: list[LogRecord] = []
        trained(current, 3, Callbacks(on_step=read, on_log=records.append), log_every=1)
        expected = [min(r.grad_norm, limit) if limit else r.grad_norm for r in records]
        assert norms == pytest.approx(expected, rel=1e-3)


# --- numbers that are none


class Breaking(MeanObjective):
    """Its loss is NaN from the fourth iteration on."""

    calls = 0

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        self.calls += 1
        return {name: loss * (math.nan if self.calls >= 4 else 1) for name, loss in super().losses(batch).items()}


@pytest.mark.parametrize("log_every", [1, 2, 5, 100])
@pytest.mark.parametrize("save_seconds", [0.0, math.inf])
def test_nan_stops_and_no_bad_state_is_saved(log_every: int, save_seconds: float) -> None:
    saved: list[dict[str, Tensor]] = []
    callbacks = Callbacks(on_save=lambda current: saved.append(state(current)))
    current = session(objective=Breaking)
    said = r"the loss became NaN or infinite at iteration 4, for t in \d+\.\.\d+ \(loss nan, gradient nan\)"
    with pytest.raises(NonFiniteError, match=said):
        train(current, batches(), Budget(8), callbacks, Intervals(log_every, save_seconds))
    assert all(torch.isfinite(value).all() for found in saved for value in found.values())
    assert all(int(found["iteration"]) <= 3 for found in saved)
    assert len(saved) == (3 if save_seconds == 0 else 0)


def test_nan_on_stopping_saves_nothing_either() -> None:
    saved: list[Session] = []
    current = session(objective=Breaking)
    callbacks = Callbacks(on_save=saved.append, should_stop=lambda: current.iteration >= 4)
    with pytest.raises(NonFiniteError):
        train(current, batches(), Budget(8), callbacks, replace(QUIET, log_every=100))
    assert saved == []


@pytest.mark.parametrize("log_every", [1, 100])
@pytest.mark.parametrize("save_seconds", [0.0, math.inf])
def test_weights_that_overflow_are_never_saved(log_every: int, save_seconds: float) -> None:
    """A step so long that float32 ends: the loss before it was still finite."""
    saved: list[dict[str, Tensor]] = []
    config = replace(CONFIG, lr=1e39, warmup=0, clip_norm=0.0)
    callbacks = Callbacks(on_save=lambda current: saved.append(state(current)))
    with pytest.raises(NonFiniteError, match=r"a weight became NaN or infinite by iteration 1, first \S+"):
        train(session(config), batches(config), Budget(1), callbacks, Intervals(log_every, save_seconds))
    assert saved == []


# --- when it ends


def test_should_stop_ends_after_the_step_and_saves() -> None:
    saved: list[int] = []
    current = session()
    callbacks = Callbacks(on_save=lambda now: saved.append(now.iteration), should_stop=lambda: current.iteration >= 3)
    assert train(current, batches(), Budget(8), callbacks, QUIET) is False
    assert current.iteration == 3
    assert saved == [3]


def test_a_spent_budget_is_finished_even_if_asked_to_stop() -> None:
    current = session()
    callbacks = Callbacks(should_stop=lambda: current.iteration >= 2)
    assert train(current, batches(), Budget(2), callbacks, QUIET) is True


def test_minutes_end_it() -> None:
    seconds = 0.2
    current, started = session(), time.monotonic()
    assert train(current, batches(), Budget(None, seconds / 60), Callbacks(), QUIET) is True
    assert current.iteration >= 1
    assert current.seconds >= seconds
    assert time.monotonic() - started < 100 * seconds


def test_minutes_count_earlier_parts() -> None:
    current = session()
    current.seconds = 61.0
    assert train(current, batches(), Budget(None, 1.0), Callbacks(), QUIET) is True
    assert current.iteration == 0
    current.seconds = 10.0
    trained(current, 2)
    assert 10 < current.seconds < 60


def test_whichever_comes_first() -> None:
    current = session()
    assert train(current, batches(), Budget(2, 60.0), Callbacks(), QUIET) is True
    assert current.iteration == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Budget(None), "--iterations or --minutes"),
        (lambda: Budget(0), "--iterations must be at least 1, found 0"),
        (lambda: Budget(None, 0.0), "--minutes must be above 0, found 0"),
        (lambda: Budget(None, math.nan), "--minutes must be above 0, found nan"),
        (lambda: Budget(None, math.inf), "--minutes must be above 0, found inf"),
        (lambda: Budget.asked(0, None), "--iterations must be at least 1, found 0"),
        (lambda: Budget.asked(None, math.inf), "--minutes must be above 0, found inf"),
        (lambda: TrainingConfig(batch_size=0), "--batch-size must be at least 1, found 0"),
        (lambda: TrainingConfig(lr=0), "--lr must be a positive number, found 0"),
        (lambda: TrainingConfig(lr=math.inf), "--lr must be a positive number, found inf"),
        (lambda: TrainingConfig(lr=math.nan), "--lr must be a positive number, found nan"),
        (lambda: TrainingConfig(warmup=-1), "--warmup must be at least 0"),
        (lambda: TrainingConfig(weight_decay=-1), "--weight-decay must be at least 0"),
        (lambda: TrainingConfig(clip_norm=-1), "--clip-norm must be at least 0"),
        (lambda: TrainingConfig(ema_decay=1.0), r"--ema-decay must be in \[0, 1\), found 1"),
        (lambda: TrainingConfig(precision="fp16"), "--precision must be one of fp32, bf16, found fp16"),
    ],
)
def test_settings_that_cannot_be(make: Callable[[], object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()


def test_a_budget_is_asked_for_by_either_option_or_not_at_all() -> None:
    assert Budget.asked(None, None) is None
    assert Budget.asked(7, None) == Budget(7)
    assert Budget.asked(None, 0.5) == Budget(None, 0.5)
    assert Budget.asked(7, 0.5) == Budget(7, 0.5)


@pytest.mark.parametrize("damage", ["missing", "shape", "network"])
def test_a_state_of_another_training_is_refused(damage: str) -> None:
    tensors = trained(session(), 1).tensors()
    if damage == "missing":
        del tensors["iteration"]
    elif damage == "shape":
        tensors["model.out.2.bias"] = torch.zeros(9)
    else:
        tensors = {name: value for name, value in tensors.items() if not name.startswith("model.time_embed")}
    with pytest.raises(InputError, match="the saved state does not fit this training"):
        session().restore(tensors)


# --- less memory


def checkpointed() -> Session:
    """A training that computes activations again on the way back."""
    current = session()
    assert isinstance(current.objective, MeanObjective)
    current.objective.model.network.checkpointed = True
    return current


def test_activations_that_are_computed_again_change_no_bit() -> None:
    """Dropout included: what is dropped is dropped again."""
    assert_same(state(trained(checkpointed(), 4)), state(trained(session(), 4)))


def test_fewer_activations_are_kept() -> None:
    def kept(current: Session) -> int:
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: (sizes.append(tensor.numel()), tensor)[1], lambda t: t
        ):
            current.objective.losses(batches().at(0))
        return sum(sizes)

    assert kept(checkpointed()) < kept(session()) / 2


class Heard(MeanObjective):
    """Keeps the seed with which each part of a batch is begun."""

    def __init__(self, model: MeanModel) -> None:
        super().__init__(model)
        self.seeds: list[int] = []

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        self.seeds.append(torch.initial_seed())
        return super().losses(batch)


def test_parts_of_a_batch_drop_units_of_their_own() -> None:
    seeds = {}
    for accumulate in (1, 4):
        heard = Heard(SPEC.build())
        assert train(Session(heard, CONFIG), batches(), Budget(1), Callbacks(), QUIET, accumulate)
        seeds[accumulate] = heard.seeds
    assert len(set(seeds[4])) == 4
    assert seeds[1] == seeds[4][:1], "the first as without parts"


@pytest.mark.parametrize("parts", (2, 3, 4))
def test_a_batch_in_parts_makes_the_same_step(parts: int) -> None:
    """3 of 4 images are parts of 1, 1 and 2: each image weighs alike."""
    config = replace(CONFIG, clip_norm=0.0)
    plain = replace(SPEC, network=replace(NETWORK, dropout=0.0))
    records: list[LogRecord] = []
    for accumulate in (1, parts):
        torch.manual_seed(5)
        current = Session(MeanObjective(plain.build()), config)
        callbacks = Callbacks(on_log=records.append)
        assert train(current, batches(config), Budget(1), callbacks, QUIET, accumulate)
        current.optimizer.zero_grad()
    whole, cut = records
    assert cut.loss == pytest.approx(whole.loss, rel=1e-6) and cut.grad_norm == pytest.approx(whole.grad_norm, rel=1e-5)
    assert cut.loss_by_t.keys() == whole.loss_by_t.keys()


def test_the_rows_of_a_cut_batch_are_those_of_the_whole() -> None:
    whole = batches().at(3)
    parts = whole.cut(3)
    assert [(part.first, part.whole, len(part.t)) for part in parts] == [(0, 4, 1), (1, 4, 1), (2, 4, 2)]
    for name in ("x_0", "x_t", "t", "eps"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))
    assert torch.equal(torch.cat([part.signs() for part in parts]), whole.signs())


def test_more_parts_than_images_are_refused() -> None:
    with pytest.raises(UsageError) as refusal:
        train(session(), batches(), Budget(1), Callbacks(), QUIET, 5)
    assert str(refusal.value) == (
        "a batch of 4 images cannot be cut into --accumulate 5 parts; give a larger --batch-size, or fewer of them"
    )
