"""The processes that torchrun started: torch.distributed, over gloo between processors and nccl between GPUs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeVar

from diffcov.errors import DiffcovError, ProcessLost
from diffcov.processes.base import ALONE, Processes, current, working
from diffcov.processes.watch import Watch, Words, last_words

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Joined", "joined"]

T = TypeVar("T")
TOLD = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun tells each process in its environment."""
LONGEST = timedelta(hours=1)
"""How long one process may be at work while the others wait for it. One that has died is noticed long before."""


class Joined(Processes):
    """Several processes, this one among them.

    Attributes:
        watch: hears what becomes of the others.
        lost: whether another is gone. From then on the first process goes on alone, to save what there is; the others
            raise ProcessLost at whatever they would do together.
    """

    def __init__(self, watch: Watch) -> None:
        self.rank, self.size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        self.local_rank = int(os.environ.get("LOCAL_RANK", self.rank))
        self.local_size = int(os.environ.get("LOCAL_WORLD_SIZE", self.size))
        self.watch = watch
        self.lost = False
        self._words = self._group_of_words()

    @staticmethod
    def _group_of_words() -> Any:
        """The group that what is no tensor goes through."""
        import torch.distributed as dist

        return dist.new_group(backend="gloo", timeout=LONGEST)

    def gathered(self, make: Callable[[], T]) -> list[T]:
        mine = _made(make)
        every = [mine]
        if not self._on_its_own():
            every = [mine] * self.size
            self._together(lambda: _dist().all_gather_object(every, mine, group=self._words))
        return [_value(made) for made in every]

    def from_first(self, make: Callable[[], T]) -> T:
        told: list[Any] = [_made(make) if self.first else None]
        if not self._on_its_own():
            self._together(lambda: _dist().broadcast_object_list(told, src=0, group=self._words))
        return _value(told[0])  # type: ignore[no-any-return]

    def wait(self) -> None:
        if not self._on_its_own():
            self._together(lambda: _dist().barrier(group=self._words))

    def summed(self, tensors: Sequence[Tensor]) -> None:
        import torch

        if self._on_its_own():
            return
        for _, alike in groupby(tensors, key=lambda tensor: (tensor.device, tensor.dtype)):
            some = list(alike)
            flat = torch.cat([tensor.reshape(-1) for tensor in some])
            self._together(lambda flat=flat: _dist().all_reduce(flat))  # type: ignore[misc]
            wholes = torch.split(flat, [tensor.numel() for tensor in some])
            for tensor, whole in zip(some, wholes, strict=True):
                tensor.copy_(whole.view_as(tensor))

    def _on_its_own(self) -> bool:
        """Whether the others are gone and this is the process that saves; ProcessLost if it is another."""
        if self.lost and not self.first:
            raise ProcessLost.told()
        return self.lost

    def _together(self, act: Callable[[], object]) -> None:
        try:
            act()
        except RuntimeError as error:
            if not _of_network(error):
                raise
            self.lost = True
            self.watch.noticed()
            raise ProcessLost.told() from error


@dataclass(frozen=True)
class _Made:
    """What a process made, or the error that it raised."""

    value: Any
    error: DiffcovError | None = None


def _made(make: Callable[[], Any]) -> _Made:
    """What one process makes alone."""
    try:
        with working(ALONE):
            return _Made(make())
    except DiffcovError as error:
        return _Made(None, error)


def _value(made: _Made) -> Any:
    if made.error is not None:
        raise made.error
    return made.value


@contextmanager
def joined(on_silence: Callable[[str], None] | None = None) -> Iterator[Processes]:
    """Join the processes that torchrun started, and work together inside; alone where there is one.

    Args:
        on_silence: called in a thread of its own, with a sentence, when another process has not been heard of for so
            long that it must be gone, and this one may be waiting for it for good. By default nothing is done.

    Raises:
        ProcessLost: the others cannot be found, or one is gone.
    """
    if current() is not ALONE or not _several():
        yield current()
        return
    dist = _dist()
    try:
        dist.init_process_group(_backend(), timeout=LONGEST)
        watch = Watch.joined(on_silence)
        processes = Joined(watch)
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise ProcessLost.told(
            f"process {os.environ['RANK']} of {os.environ['WORLD_SIZE']} could not meet the others at {where} "
            f"({str(error).splitlines()[0]})",
            "see that all machines reach that address, and start them together",
        ) from error
    try:
        with working(processes):
            yield processes
    except BaseException as error:
        watch.say(last_words(error))
        raise
    else:
        watch.say(Words.done())
    finally:
        watch.stop()
        if not processes.lost:
            dist.destroy_process_group()


def _several() -> bool:
    return all(name in os.environ for name in TOLD) and int(os.environ["WORLD_SIZE"]) > 1


def _dist() -> Any:
    import torch.distributed as dist

    return dist


def _backend() -> str:
    import torch

    if not torch.cuda.is_available():
        return "gloo"
    own = int(os.environ.get("LOCAL_RANK", os.environ["RANK"]))
    if own < torch.cuda.device_count():
        torch.cuda.set_device(own)
    return "cpu:gloo,cuda:nccl"


def _of_network(error: RuntimeError) -> bool:
    """Whether an error says that a connection broke, and not that a program is wrong."""
    dist = _dist()
    if isinstance(error, dist.DistBackendError | dist.DistNetworkError | dist.DistStoreError):
        return True
    return "gloo" in str(error) or "NCCL" in str(error)
