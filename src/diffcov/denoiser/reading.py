"""How a network is read: everything that turns its output into looks and is not a weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from diffcov.data import UNLABELLED, DataDescription
from diffcov.denoiser.parametrisation import PARAMETRISATIONS, Parametrisation
from diffcov.denoiser.time import TimeConvention
from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.errors import InputError, UsageError

__all__ = ["Reading"]


@dataclass(frozen=True)
class Reading:
    """A network's schedule, images, times, parametrisation and classes. Two readings of the same weights are two means.

    Args:
        schedule: the noise schedule it was trained under.
        data: the images it was trained on.
        time: its time convention.
        predicts: what its output means, a name of ``PARAMETRISATIONS``.
        classes: the number of classes whose labels it takes; 0 takes none.
        needs_labels: whether it has never seen an image without a label (which is told to it as -1).
        learned_range: whether the second half of its output is a learned variance, as its place in a range.

    Raises:
        UsageError: an unknown parametrisation, or network times that begin below 0.
    """

    schedule: NoiseSchedule
    data: DataDescription
    time: TimeConvention
    predicts: str = "eps"
    classes: int = 0
    needs_labels: bool = False
    learned_range: bool = False

    def __post_init__(self) -> None:
        if self.predicts not in PARAMETRISATIONS:
            raise UsageError(f"a network predicts {', '.join(PARAMETRISATIONS)}; found {self.predicts!r}")
        first = (1 - self.time.offset) * self.time.scale
        if not first >= 0:
            raise UsageError(
                f"the network's time at t=1 would be {first:g}, with network time = (t - offset) * scale, "
                f"offset {self.time.offset:g} and scale {self.time.scale:g}; times begin at 0 or above"
            )

    @property
    def parametrisation(self) -> Parametrisation:
        """What the output means."""
        return PARAMETRISATIONS[self.predicts]

    def inputs(self, x_t: Tensor, t: int | Tensor, cond: Tensor | None, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """(x, times) or (x, times, labels), as the network takes them.

        Raises:
            UsageError: labels for a network without classes, none for one that needs them, or another shape.
        """
        times = t if isinstance(t, Tensor) else torch.full((len(x_t),), t, device=x_t.device)
        exact = torch.promote_types(dtype, torch.float32)  # bfloat16 cannot tell 999 from 1000
        return (x_t.to(dtype), self.time(times, exact), *self._labels(cond, x_t))

    def _labels(self, cond: Tensor | None, x_t: Tensor) -> tuple[Tensor, ...]:
        if not self.classes:
            if cond is not None:
                raise UsageError("this network is unconditional: it takes no class labels")
            return ()
        if cond is None and self.needs_labels:
            raise UsageError(
                "this network has never seen an image without a label: say which classes are wanted (--class)"
            )
        if cond is None:
            return (torch.full((len(x_t),), UNLABELLED, device=x_t.device),)
        if cond.shape != (len(x_t),) or cond.dtype != torch.int64:
            raise UsageError(
                f"class labels of {len(x_t)} images are int64 ({len(x_t)},), found {cond.dtype} {tuple(cond.shape)}"
            )
        if bool((cond >= self.classes).any()) or (self.needs_labels and bool((cond < 0).any())):
            told = f"0..{self.classes - 1}" if self.needs_labels else f"0..{self.classes - 1}, or below 0 for none"
            raise UsageError(f"class labels of this network are {told}, found {sorted(set(cond.tolist()))}")
        return (cond.to(x_t.device),)

    def check_time(self, t: int | Tensor) -> None:
        """Refuse (InputError) a time at which the output says nothing of x_0."""
        if not (self.parametrisation.needs_signal and self.schedule.ends_at_zero):
            return
        T = self.schedule.T
        if t == T if isinstance(t, int) else bool((t == T).any()):
            raise InputError(
                f"alpha_bar is 0 at t={T}, and a network that predicts {self.predicts} says nothing of x_0 there; "
                f"visit times below {T}"
            )

    def halves(self, output: Tensor, count: int) -> tuple[Tensor, Tensor | None]:
        """What is predicted of ``count`` images, and the second half of the channels if a variance was learned too.

        Raises:
            InputError: an output of another shape than the images.
        """
        if len(output) != count:
            raise InputError(f"the network was given {count} images and its output holds {len(output)}")
        channels = self.data.channels
        if output.shape[1:] == (2 * channels, *self.data.shape[1:]):
            return output[:, :channels], output[:, channels:]
        if self.learned_range:
            raise InputError(
                f"the network's output is {tuple(output.shape[1:])} for images of {self.data.shape}, and it is read as "
                "one that learned a variance too, which needs twice the channels; read it without"
            )
        if output.shape[1:] != self.data.shape:
            raise InputError(
                f"the network's output is {tuple(output.shape[1:])} and its images are {self.data.shape}: it must be "
                "as large, with twice the channels if it learned a variance too"
            )
        return output, None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for metadata and digests."""
        return {
            "schedule": self.schedule.spec,
            "data": self.data.as_dict(),
            "time": self.time.as_dict(),
            "predicts": self.predicts,
            "classes": self.classes,
            "needs_labels": self.needs_labels,
            **({"learned_range": True} if self.learned_range else {}),  # others are told as ever
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of :meth:`as_dict`; what an earlier version did not write is as it was then."""
        return cls(
            NoiseSchedule.from_spec(values["schedule"]),
            DataDescription.from_dict(values["data"]),
            TimeConvention(**values["time"]),
            values.get("predicts", "eps"),
            values.get("classes", 0),
            values.get("needs_labels", False),
            values.get("learned_range", False),
        )
