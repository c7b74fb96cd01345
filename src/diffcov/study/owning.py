"""Experiments that write into a run own what they write while they run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import wraps
from typing import Any, Protocol, TypeVar

from diffcov.store.ownership import MEAN, owned_run
from diffcov.store.run import RunFolder
from diffcov.study.listener import Listener
from diffcov.study.requests.shared import RunPlace

__all__ = ["owning"]

Found = TypeVar("Found")


class InARun(Protocol):
    """A request that names its run."""

    @property
    def place(self) -> RunPlace:
        """Where the run is."""


Request = TypeVar("Request", bound=InARun)
Study = Callable[[Request, Listener | None], Found]


def owning(
    command: str, tasks: Callable[[Any], Sequence[str]]
) -> Callable[[Study[Request, Found]], Study[Request, Found]]:
    """An experiment that is the only one to write its parts of a run; see :func:`diffcov.store.ownership.owned_run`.

    Args:
        command: the command's name.
        tasks: names of what a request writes; none if it writes nothing.
    """

    def around(study: Study[Request, Found]) -> Study[Request, Found]:
        @wraps(study)
        def owner(request: Request, listener: Listener | None = None) -> Found:
            names = tasks(request)
            if names and MEAN not in names:
                RunFolder(request.place.run).require_mean()
            with owned_run(request.place.run, command, *names) if names else nullcontext():
                return study(request, listener)

        return owner

    return around
