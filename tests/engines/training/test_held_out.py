"""What heads are judged by: which images, at which steps."""

from __future__ import annotations

import pytest
import torch

from diffcov.data import DataDescription, Examples
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.diffusion.step import Step
from diffcov.engines.training.batches import NoisyBatches
from diffcov.engines.training.held_out import STEPS, HeldOut, held_out_count, hold_out, step_gain
from diffcov.errors import InputError

DATA = DataDescription(1, 1, 2)


def numbered(count: int) -> Examples:
    """Images that say which one they are, and so do their labels."""
    numbers = torch.arange(count)
    images = torch.stack([numbers % 256, numbers // 256], 1).to(torch.uint8)[:, None, None]
    return Examples(images, numbers)


@pytest.mark.parametrize(("images", "held"), [(2, 1), (19, 1), (20, 2), (1500, 150), (2560, 256), (50_000, 256)])
def test_one_image_in_ten_and_never_more_than_enough(images: int, held: int) -> None:
    assert held_out_count(images) == held


def test_a_single_image_cannot_be_held_out() -> None:
    message = (
        "fitting stops by images that are held out, which takes at least 2 and found 1; give more images, or fit "
        "without by --patience 0"
    )
    with pytest.raises(InputError) as found:
        held_out_count(1)
    assert str(found.value) == message


@pytest.mark.parametrize("held", [0, 1, 30, 256])
def test_every_image_is_on_one_side_in_its_order_with_its_label(held: int) -> None:
    every = numbered(300)
    fitted, out = hold_out(every, held)
    assert len(out) == held
    for part in (fitted, out):
        assert part.labels is not None
        assert torch.equal(part.labels, part.labels.sort().values)
        assert torch.equal(part.images, every.images[part.labels])
    assert fitted.labels is not None
    assert out.labels is not None
    assert torch.equal(torch.cat([fitted.labels, out.labels]).sort().values, torch.arange(300))


def test_the_choice_is_fixed() -> None:
    """A golden value: what was held out yesterday is held out tomorrow, from whatever seed a fit has."""
    _, out = hold_out(numbered(40), 4)
    assert out.labels is not None
    assert out.labels.tolist() == [8, 9, 23, 25]


def test_looks_are_the_same_at_every_evaluation_whatever_the_fit() -> None:
    fitted, held = hold_out(numbered(300), 30)
    schedule = NoiseSchedule.linear(50)
    one, other = (HeldOut(held, NoisyBatches(fitted, DATA, schedule, size, size > 8, size)) for size in (8, 16))
    assert one.count == other.count == 2
    for number in range(one.count):
        mine, theirs = one.at(number), other.at(number)
        assert torch.equal(mine.x_t, theirs.x_t)
        assert torch.equal(mine.t, theirs.t)
        assert torch.equal(mine.signs(), theirs.signs())
        assert set(mine.t.tolist()) == set(range(1, 51)), "all times alike"
    assert torch.cat([one.at(0).x_0, one.at(1).x_0]).unique(dim=0).shape[0] == 30, "and every image"


@pytest.mark.parametrize("schedule", [NoiseSchedule.cosine(7), NoiseSchedule.linear(50), NoiseSchedule.linear()])
def test_the_gain_is_that_of_a_ddpm_step(schedule: NoiseSchedule) -> None:
    """gamma^2 r_t / lambda2 of the step, by the step's own numbers."""
    T, gain = schedule.T, step_gain(schedule)
    assert float(gain[1]) == 0, "nothing leaves from 1"
    for t in range(2, T + 1, max(1, T // 50)):
        step = Step(schedule, max(1, t - max(1, T // STEPS)), t)
        expected = step.gamma**2 * float(schedule.ratio[t]) / step.lambda2
        assert float(gain[t]) == pytest.approx(expected, rel=1e-9)


def test_the_gain_is_finite_where_nothing_is_left_of_the_data() -> None:
    gain = step_gain(NoiseSchedule.from_betas([0.1, 0.3, 0.5, 1.0]))
    assert bool(torch.isfinite(gain).all())
    assert float(gain[-1]) > 0
