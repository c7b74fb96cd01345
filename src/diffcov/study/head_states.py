"""Fits of heads side by side in one run: each kind has one owner, each fit a state and a part of the log of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from diffcov.errors import InputError, OwnedError, UsageError
from diffcov.processes.base import current
from diffcov.store.ownership import owned_run, owner_of, task_lock
from diffcov.store.run import RunFolder
from diffcov.store.state import read_progress
from diffcov.study.head_start import startable
from diffcov.study.listener import Silent
from diffcov.study.requests.train import FitRequest, given
from diffcov.study.settings import canonical_head_options, default_kinds, head_architecture

__all__ = ["owned_fit"]

HEADS = "heads"
"""The state of a fit that has the run to itself."""


@dataclass(frozen=True)
class _Begun:
    """A fit that has a state.

    Attributes:
        name: of the state.
        kinds: of its heads; None if the state is damaged.
        iteration: how far it is.
        finished: whether it has come to its end.
    """

    name: str
    kinds: list[str] | None
    iteration: int = 0
    finished: bool = True


@contextmanager
def owned_fit(request: FitRequest) -> Iterator[str]:
    """Be the one who fits the heads of these kinds in a run; fits of other kinds may go on beside it.

    The state is "heads", unless another fit is at it or it holds an unfinished fit of other kinds; then it is named by
    its own kinds.

    Yields:
        The state's name, for :meth:`RunFolder.state`.

    Raises:
        UsageError: several fits could be resumed, and none was named by its kinds.
        InputError: the run holds no mean.
        OwnedError: somebody else fits one of these kinds, or trains the mean.
        OutputError: the file system refuses.
    """
    run = RunFolder(request.place.run)
    run.require_mean()
    asked = canonical_head_options(given(request.heads))
    command, begun = "fit-var-head", current().once(lambda: _begun(run))
    if request.resume.resume:
        state = current().once(lambda: _resumed(run, begun, asked.get("kind")))
        kinds = state.kinds or asked.get("kind", [])
        with owned_run(run.path, command, state.name, *map(_task, kinds)):
            yield state.name
        return
    loss = asked.get("loss")
    settings = {"kind": default_kinds(loss), "loss": loss, "head": head_architecture(asked)}
    kinds = asked.get("kind") or current().once(lambda: startable(run, settings, Silent()))
    with owned_run(run.path, command, *map(_task, kinds)), ExitStack() as held:
        yield _free(held, run, kinds)


def _task(kind: str) -> str:
    return f"head-{kind}"


def _begun(run: RunFolder) -> list[_Begun]:
    """The fits that have a state in a run, :data:`HEADS` first."""
    return [_read(path) for path in sorted(run.all_head_states(), key=lambda path: (path.stem != HEADS, path.stem))]


def _read(path: Path) -> _Begun:
    try:
        settings, done = read_progress(path)
        return _Begun(path.stem, list(settings["kind"]), done.iteration, done.finished)
    except (InputError, KeyError, TypeError):
        return _Begun(path.stem, None)  # who opens it says what is wrong


def _names(begun: Sequence[_Begun], kinds: Sequence[str]) -> list[str]:
    """The states that a new fit of these kinds may have, the best one first."""
    same = [one.name for one in begun if one.kinds == list(kinds)]
    mixed = [one.name for one in begun if not one.finished and one.kinds is not None and {*one.kinds} & {*kinds}]
    taken = any(one.name == HEADS and not one.finished for one in begun)
    return [*same[:1], *mixed[:1], *([] if taken else [HEADS]), "-".join([HEADS, *kinds])]


def _free(held: ExitStack, run: RunFolder, kinds: Sequence[str]) -> str:
    """The state of a new fit, which this process owns until what is held is given back."""
    for name in (names := _names(current().once(lambda: _begun(run)), kinds)):
        try:
            held.enter_context(owned_run(run.path, "fit-var-head", name))
        except OwnedError:
            if name == names[-1]:
                raise
            continue
        if name in _names(current().once(lambda: _begun(run)), kinds):  # its owner may have stopped just now
            return name
        held.close()
    raise AssertionError("the last name is always free")


def _resumed(run: RunFolder, begun: Sequence[_Begun], kinds: Sequence[str] | None) -> _Begun:
    """The fit to go on with; one that does not exist, or is of other kinds, is refused by whoever reads it."""
    if kinds is not None:
        return next((one for one in begun if one.kinds == list(kinds)), begun[0] if begun else _Begun(HEADS, None))
    idle = [one for one in begun if owner_of(task_lock(run.path, one.name)) is None] or begun
    unfinished = [one for one in idle if not one.finished] or idle
    if len(unfinished) > 1:
        several = " and ".join(f"{','.join(one.kinds or ['?'])} (iteration {one.iteration})" for one in unfinished)
        raise UsageError(f"{run.path} holds several fits that can go on, {several}; say which by its --kind")
    return unfinished[0] if unfinished else _Begun(HEADS, None)
