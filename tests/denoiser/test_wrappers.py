"""What stands between a network and whoever looks: guidance, a scale, a clip, and in which order."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from diffcov.covariance.ingredients import FittedHead
from diffcov.covariance.registry import make_covariance
from diffcov.data import DataDescription
from diffcov.denoiser.base import Denoiser, View
from diffcov.denoiser.clipped import Clipped
from diffcov.denoiser.guided import Guided
from diffcov.denoiser.look import Look
from diffcov.denoiser.mean_model import MeanModel
from diffcov.denoiser.parametrisation import PARAMETRISATIONS
from diffcov.denoiser.reading import Reading
from diffcov.denoiser.scaled import Scaled
from diffcov.denoiser.through import through
from diffcov.denoiser.time import TimeConvention
from diffcov.diffusion.level import Level
from diffcov.diffusion.schedule import FAMILIES, NoiseSchedule
from diffcov.errors import InputError, UsageError
from diffcov.solver.ddim import DDIM

DATA = DataDescription(2, 4, 4, low=-0.75, high=1.5)
SCHEDULE = NoiseSchedule.cosine(50)
ZERO = NoiseSchedule.from_betas([0.1, 0.3, 0.5, 1.0])
CLASSES = 3
TIMES = torch.tensor([1, 25, 50])
LABELS = torch.tensor([2, -1, 0])
AT = [1, 25, 50, TIMES]
AT_IDS = ["first", "middle", "last", "all"]

SINGLE = 1e-6
"""Relative: a few float32 operations."""


class Classy(nn.Module):
    """Half of what it sees, moved by a picture of each class; the second half of its output is a learned variance."""

    def __init__(self) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(1)
        self.pictures = nn.Parameter(torch.randn(CLASSES, *DATA.shape, generator=draw) / 2)
        self.seen: list[list[int]] = []

    def forward(self, x: Tensor, times: Tensor, labels: Tensor) -> Tensor:
        self.seen.append(labels.tolist())
        known = (labels >= 0)[:, None, None, None]
        out = 0.5 * x + self.pictures[labels.clamp(min=0)] * known
        return torch.cat([out, labels[:, None, None, None] + torch.zeros_like(x)], 1)


def mean(
    predicts: str = "eps", schedule: NoiseSchedule = SCHEDULE, dtype: torch.dtype = torch.float32, needs: bool = False
) -> MeanModel:
    reading = Reading(schedule, DATA, TimeConvention(), predicts, CLASSES, needs)
    return MeanModel(Classy().to(dtype), reading).freeze()


def unconditional() -> MeanModel:
    class Half(nn.Module):
        def forward(self, x: Tensor, times: Tensor) -> Tensor:
            return 0.5 * x

    return MeanModel.of(Half(), predicts="eps", schedule=SCHEDULE, data=DATA)


def noisy(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(3, *DATA.shape, generator=torch.Generator().manual_seed(2)).to(dtype)


def level(denoiser: Denoiser, look: Look) -> Level:
    return Level.at(denoiser.schedule, look.t, look.x_t)


def says_the_same(denoiser: Denoiser, look: Look) -> None:
    """a x0_hat + b eps_hat = x_t."""
    at = level(denoiser, look)
    torch.testing.assert_close(at.signal * look.x0_hat + at.noise * look.eps_hat, look.x_t, rtol=0, atol=1e-13)


def unchanged_but(look: Look, before: Look, *changed: str) -> None:
    """Every field is the same object but those that are named."""
    for name in ("x_t", "t", "x0_hat", "eps_hat", "predicted", "learned", "consistent"):
        same = getattr(look, name) is getattr(before, name)
        assert same == (name not in changed), name
    torch.testing.assert_close(look.features, before.features, rtol=0, atol=0)


# --- the clip


@pytest.mark.parametrize("t", AT, ids=AT_IDS)
@pytest.mark.parametrize("predicts", PARAMETRISATIONS)
def test_a_clip_is_that_of_x0_to_the_range_of_the_data_and_leaves_eps_as_predicted(
    predicts: str, t: int | Tensor
) -> None:
    inner = mean(predicts)
    before, found = inner.look(3 * noisy(), t, LABELS), Clipped(inner).look(3 * noisy(), t, LABELS)
    assert torch.equal(found.x0_hat, before.x0_hat.clamp(-0.75, 1.5))
    assert float(found.x0_hat.min()) >= -0.75
    assert float(found.x0_hat.max()) <= 1.5
    assert not torch.equal(found.x0_hat, before.x0_hat), "the clip must bind somewhere"
    assert torch.equal(found.eps_hat, before.eps_hat)
    assert torch.equal(found.predicted, before.predicted)
    assert torch.equal(found.learned, before.learned)
    assert before.consistent
    assert not found.consistent


def test_a_clip_changes_nothing_else() -> None:
    before = mean().look(noisy(), 25)
    unchanged_but(Clipped(mean()).change(before), before, "x0_hat", "consistent")


def test_a_second_clip_changes_nothing() -> None:
    once, twice = Clipped(mean()), Clipped(Clipped(mean()))
    assert torch.equal(once.look(noisy(), 25).x0_hat, twice.look(noisy(), 25).x0_hat)
    assert once.view == twice.view == View(clip_x0=True)


# --- the scale


@pytest.mark.parametrize("scale", [0.8, 1.0, 1.004, 1.25, 3.0])
@pytest.mark.parametrize("t", AT, ids=AT_IDS)
@pytest.mark.parametrize("predicts", PARAMETRISATIONS)
def test_a_scale_divides_eps_and_x0_is_that_which_goes_with_it(predicts: str, t: int | Tensor, scale: float) -> None:
    """In float64: x0_hat = (x_t - b eps_hat / scale) / a, up to what 1/a = 3e3 makes of rounding."""
    inner = mean(predicts, dtype=torch.float64)
    x_t = noisy(torch.float64)
    before, found = inner.look(x_t, t, LABELS), Scaled(inner, scale).look(x_t, t, LABELS)
    at = level(inner, found)
    assert torch.equal(found.eps_hat, before.eps_hat / scale)
    expected = (x_t - at.noise * before.eps_hat / scale) / at.signal
    torch.testing.assert_close(found.x0_hat, expected, rtol=1e-12, atol=1e-11)
    says_the_same(inner, found)
    assert found.consistent
    assert torch.equal(found.predicted, before.eps_hat), "as the network said it"
    assert torch.equal(found.learned, before.learned)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("t", AT, ids=AT_IDS)
@pytest.mark.parametrize("predicts", PARAMETRISATIONS)
def test_a_scale_of_one_changes_nothing(predicts: str, t: int | Tensor, dtype: torch.dtype) -> None:
    """Also where x_t has more digits than the network could see."""
    x_t = noisy(dtype) / 3
    before, found = mean(predicts).look(x_t, t, LABELS), Scaled(mean(predicts), 1.0).look(x_t, t, LABELS)
    assert torch.equal(found.x0_hat, before.x0_hat)
    assert torch.equal(found.eps_hat, before.eps_hat)


def test_a_scale_changes_nothing_else() -> None:
    before = mean().look(noisy(), 25)
    unchanged_but(Scaled(mean(), 1.25).change(before), before, "x0_hat", "eps_hat")


SCALE_IN_FLOAT32 = 4e-7
"""Relative to the largest |x0_hat| of an image, before or after. Measured over all t of each schedule: 3.2e-7. Taken
from x_t anew, x0_hat of a network that predicts v or x_0 would be up to 5e-5 off, for 1/a reaches 2e4."""


@pytest.mark.parametrize("scale", [1.001, 1.02, 1.2])
@pytest.mark.parametrize("predicts", PARAMETRISATIONS)
@pytest.mark.parametrize("family", ["linear", "cosine", "vp"])
def test_a_scaled_x0_loses_no_digits_at_any_noise_level(family: str, predicts: str, scale: float) -> None:
    """x0_hat + (b / a) (1 - 1 / scale) eps_hat, of the same float32 numbers, in float32 and in float64."""
    T, meaning = 1000, PARAMETRISATIONS[predicts]
    schedule, times, draw = FAMILIES[family](1000), torch.arange(1, T + 1), torch.Generator().manual_seed(3)
    x_t, output = (torch.randn(T, *DATA.shape, generator=draw) for _ in range(2))
    single, double = Level.at(schedule, times, x_t), Level.at(schedule, times, x_t.double())
    eps_hat = meaning.eps(x_t, output, single)
    before = replace(
        mean(predicts, schedule).look(x_t, times),
        x0_hat=meaning.x0(x_t, output, single),
        eps_hat=eps_hat,
        predicted=eps_hat,
    )
    found = Scaled(mean(predicts, schedule), scale).change(before)
    exact_x0 = meaning.x0(x_t.double(), output.double(), double)
    exact_eps = meaning.eps(x_t.double(), output.double(), double)
    expected = exact_x0 + double.noise / double.signal * (1 - 1 / scale) * exact_eps
    size = torch.maximum(exact_x0.abs(), expected.abs()).amax((1, 2, 3), keepdim=True)
    assert found.x0_hat.dtype == torch.float32
    assert float(((found.x0_hat.double() - expected).abs() / size).max()) < SCALE_IN_FLOAT32


@pytest.mark.parametrize("t", [4, torch.tensor([1, 4, 4])], ids=["one time", "a time an image"])
@pytest.mark.parametrize("predicts", ["v", "x0"])
def test_where_nothing_of_the_image_is_left_x0_stays_as_it_is(predicts: str, t: int | Tensor) -> None:
    """No x0_hat goes with an eps_hat there."""
    inner = mean(predicts, ZERO)
    before, found = inner.look(noisy(), t), Scaled(inner, 1.25).look(noisy(), t)
    last = slice(0, 3) if isinstance(t, int) else slice(1, 3)
    assert torch.equal(found.x0_hat[last], before.x0_hat[last])
    assert torch.equal(found.eps_hat, before.eps_hat / 1.25)
    assert torch.isfinite(found.x0_hat).all()
    assert isinstance(t, int) or not torch.equal(found.x0_hat[0], before.x0_hat[0])


@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan])
def test_a_scale_that_is_not_a_positive_number_is_refused(scale: float) -> None:
    with pytest.raises(UsageError, match=f"^eps_hat is divided by a positive number, found {scale}$"):
        Scaled(mean(), scale)


def test_a_scale_comes_before_the_clip() -> None:
    for clipped in (Clipped(mean()), Clipped(Scaled(mean(), 1.1))):
        with pytest.raises(UsageError, match="put Clipped outside of Scaled"):
            Scaled(clipped, 1.1)


def test_scales_multiply() -> None:
    twice, once = Scaled(Scaled(mean(), 1.25), 1.5), Scaled(mean(), 1.875)
    assert twice.view == once.view == View(eps_scale=1.875)
    mine, theirs = twice.look(noisy(), 10), once.look(noisy(), 10)
    torch.testing.assert_close(mine.x0_hat, theirs.x0_hat, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(mine.eps_hat, theirs.eps_hat, rtol=SINGLE, atol=0)
    assert torch.equal(mine.predicted, theirs.predicted)


# --- guidance


@pytest.mark.parametrize("t", AT, ids=AT_IDS)
@pytest.mark.parametrize("predicts", PARAMETRISATIONS)
def test_guidance_by_one_is_the_look_with_the_label(predicts: str, t: int | Tensor) -> None:
    """In float64, where a difference that is added again costs a rounding of numbers up to 1/a = 3e3."""
    inner = mean(predicts, dtype=torch.float64)
    before, found = (
        inner.look(noisy(torch.float64), t, LABELS),
        Guided(inner, 1.0).look(noisy(torch.float64), t, LABELS),
    )
    torch.testing.assert_close(found.x0_hat, before.x0_hat, rtol=0, atol=1e-11)
    torch.testing.assert_close(found.eps_hat, before.eps_hat, rtol=0, atol=1e-14)


@pytest.mark.parametrize("W", [-0.5, 0.0, 1.5, 2.0, 7.5])
@pytest.mark.parametrize("t", AT, ids=AT_IDS)
@pytest.mark.parametrize("predicts", PARAMETRISATIONS)
def test_guidance_goes_on_from_without_the_label_through_with_it(predicts: str, t: int | Tensor, W: float) -> None:
    inner, x_t = mean(predicts, dtype=torch.float64), noisy(torch.float64)
    found = Guided(inner, W).look(x_t, t, LABELS)
    towards, away = inner.look(x_t, t, LABELS), inner.look(x_t, t)
    for name in ("x0_hat", "eps_hat"):
        expected = (1 - W) * getattr(away, name) + W * getattr(towards, name)
        torch.testing.assert_close(getattr(found, name), expected, rtol=1e-12, atol=1e-10)
    says_the_same(inner, found)
    assert found.consistent
    assert found.predicted is found.eps_hat, "what is divided by a scale later is divided after guidance"
    assert torch.equal(found.learned, towards.learned)
    torch.testing.assert_close(found.features, towards.features, rtol=0, atol=0)


def test_an_image_without_a_label_is_guided_nowhere() -> None:
    found, plain = (m.look(noisy(), 25, torch.tensor([-1, -1, -1])) for m in (Guided(mean(), 4.0), mean()))
    assert torch.equal(found.x0_hat, plain.x0_hat)
    assert torch.equal(found.eps_hat, plain.eps_hat)


def test_guidance_takes_two_calls_with_the_labels_and_without() -> None:
    inner = mean()
    guided = Guided(inner, 2.0)
    assert (guided.calls, inner.calls) == (2, 1)
    assert Clipped(Scaled(guided, 1.1)).calls == 2
    guided.look(noisy(), 25, LABELS)
    assert inner.network.seen == [[2, -1, 0], [-1, -1, -1]]


def test_guidance_without_a_wish_is_refused() -> None:
    inner = mean()
    with pytest.raises(UsageError, match=r"which classes are wanted; give labels \(--class\)"):
        Guided(inner, 2.0).look(noisy(), 25)
    assert inner.network.seen == []


def test_guidance_refuses_a_mean_without_classes() -> None:
    with pytest.raises(UsageError, match="needs a mean with classes, and this one has none; train one with --classes"):
        Guided(unconditional(), 2.0)


def test_guidance_refuses_a_mean_that_has_never_seen_an_image_without_a_label() -> None:
    with pytest.raises(UsageError, match=r"this one has not; train it with --label-dropout 0\.1$"):
        Guided(mean(needs=True), 2.0)


@pytest.mark.parametrize("W", [math.nan, math.inf, -math.inf])
def test_guidance_that_is_no_number_is_refused(W: float) -> None:
    with pytest.raises(UsageError, match=f"guidance takes a number, found {W}"):
        Guided(mean(), W)


def test_guidance_comes_first() -> None:
    for inner in (Clipped(mean()), Scaled(mean(), 1.1), Guided(mean(), 2.0)):
        with pytest.raises(UsageError, match="guidance comes first: put Scaled and Clipped outside of Guided"):
            Guided(inner, 2.0)


# --- through a view

VIEWS = [
    View(clip_x0, eps_scale, guidance)
    for clip_x0 in (False, True)
    for eps_scale in (1.0, 1.25)
    for guidance in (1.0, 2.0, 0.0)
]


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_through_a_view_guidance_is_first_then_the_scale_then_the_clip(view: View) -> None:
    inner = mean()
    denoiser = through(inner, view)
    assert denoiser.view == view
    expected = inner.look(noisy(), TIMES, LABELS)
    if view.guidance != 1:
        expected = Guided(inner, view.guidance).look(noisy(), TIMES, LABELS)
    predicted = expected.eps_hat
    if view.eps_scale != 1:
        expected = Scaled(inner, view.eps_scale).change(expected)
    if view.clip_x0:
        expected = Clipped(inner).change(expected)
    found = denoiser.look(noisy(), TIMES, LABELS)
    for name in ("x0_hat", "eps_hat", "predicted", "learned"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
    assert torch.equal(found.predicted, predicted)
    assert found.consistent == (not view.clip_x0)


def test_an_empty_view_is_the_mean_itself() -> None:
    inner = mean()
    assert through(inner, View()) is inner


def test_what_a_view_leaves_alone_costs_nothing() -> None:
    """No wrapper is there that does nothing."""

    def layers(view: View) -> list[type[Denoiser]]:
        found, at = [], through(mean(), view)
        while not isinstance(at, MeanModel):
            found.append(type(at))
            at = at.inner
        return found

    assert layers(View(True, 1.1, 2.0)) == [Clipped, Scaled, Guided]
    assert layers(View(clip_x0=True)) == [Clipped]
    assert layers(View(eps_scale=0.9)) == [Scaled]
    assert layers(View(guidance=0.0)) == [Guided]
    assert layers(View(True, 1.0, 3.0)) == [Clipped, Guided]


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_a_view_is_recorded_beside_the_mean_and_is_not_part_of_its_digest(view: View) -> None:
    inner = mean()
    denoiser = through(inner, view)
    assert denoiser.digest == inner.digest
    assert denoiser.as_dict() == {"mean": inner.digest, "precision": "fp32", **view.as_dict()}
    assert View(**view.as_dict()) == view
    assert list(view.as_dict()) == ["clip_x0", "eps_scale", "guidance"]


def test_equal_views_are_written_alike() -> None:
    """A user may spell 2.0 as 2."""
    whole, point = (through(mean(), view).as_dict() for view in (View(True, 2, 3), View(True, 2.0, 3.0)))
    assert json.dumps(whole) == json.dumps(point)


def test_a_wrapped_denoiser_is_like_the_mean_in_all_that_is_not_said_otherwise() -> None:
    inner = mean(dtype=torch.float64)
    denoiser = through(inner, View(True, 1.25, 2.0))
    for name in (
        *("schedule", "data", "device", "classes", "feature_channels", "embedding_width"),
        *("plain_features", "precision", "work_dtype", "digest"),
    ):
        assert getattr(denoiser, name) == getattr(inner, name), name
    assert through(mean(needs=True), View(clip_x0=True)).needs_labels
    assert not through(mean(), View(True, 1.25)).needs_labels
    assert denoiser.needs_labels, "guidance is towards a class"
    assert {id(p) for p in denoiser.parameters()} == {id(p) for p in inner.parameters()}


@pytest.mark.parametrize(
    ("view", "message"),
    [
        (View(guidance=2.0), "needs a mean with classes"),
        (View(eps_scale=0.0), "divided by a positive number, found 0.0"),
        (View(guidance=math.inf), "guidance takes a number, found inf"),
    ],
)
def test_a_view_that_the_mean_does_not_allow_is_refused(view: View, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        through(unconditional(), view)


@pytest.mark.parametrize("view", [View(True, 1.25), View(True, 1.25, 2.0)], ids=str)
def test_refusals_of_the_mean_go_through(view: View) -> None:
    inner = mean("eps", ZERO)
    with pytest.raises(InputError, match="alpha_bar is 0 at t=4"):
        through(inner, view).look(noisy(), 4, LABELS)
    with pytest.raises(UsageError, match="class labels of 3 images"):
        through(inner, view).look(noisy(), 3, LABELS[:2])


# --- what a scale leaves to be seen


class Half(nn.Module):
    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        return 0.5 * x


def halved() -> tuple[Scaled, Tensor]:
    """A mean that predicts half of x_t, scaled by 2: eps_hat is a quarter of it."""
    schedule, data = NoiseSchedule.linear(50), DataDescription(1, 4, 4)
    x_t = torch.randn(3, *data.shape, generator=torch.Generator().manual_seed(0))
    return Scaled(MeanModel.of(Half(), predicts="eps", schedule=schedule, data=data), 2.0), x_t


def test_some_images_of_a_scaled_look_keep_what_was_predicted() -> None:
    denoiser, x_t = halved()
    look = denoiser.look(x_t, torch.tensor([3, 3, 9]))
    part = look.rows(slice(0, 2), 3)
    assert torch.equal(part.predicted, look.predicted[:2])
    assert not torch.equal(part.predicted, part.eps_hat)


def test_sn_takes_the_square_of_what_was_predicted() -> None:
    """Its head was fitted to the eps_hat of the network, not to the scaled one."""
    denoiser, x_t = halved()
    sn = make_covariance("sn", denoiser, FittedHead(lambda features, times: torch.ones(len(times), 1, 1, 1)))
    found = sn.unbounded(denoiser.look(x_t, 30)).var.float()
    assert torch.allclose(found, float(denoiser.schedule.ratio[30]) * (1 - (0.5 * x_t).square()))


def test_ddim_goes_on_in_the_scaled_direction() -> None:
    denoiser, x_t = halved()
    step, look = DDIM().step(denoiser.schedule, 20, 30), denoiser.look(x_t, 30)
    assert torch.allclose(DDIM().mean(step, look), step.mean_from_eps(look.x0_hat, 0.25 * x_t))
