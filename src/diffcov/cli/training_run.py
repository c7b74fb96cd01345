"""What training the mean and fitting heads have in common at the terminal: progress, log, saves, stopping, resuming."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from diffcov.cli.console import progress, warn
from diffcov.cli.interrupt import stop_requests
from diffcov.errors import InputError, Interrupted, OutputError
from diffcov.io.log import RunLog
from diffcov.io.state import load_state, resumed_settings, save_state
from diffcov.training.batches import NoisyBatches
from diffcov.training.config import Budget
from diffcov.training.loop import Callbacks, LogRecord, train
from diffcov.training.session import Session

__all__ = ["Intervals", "Resumption", "TrainingRun"]


@dataclass(frozen=True)
class Intervals:
    """How often to log (iterations), save and preview (seconds)."""

    log_every: int
    save_seconds: float
    preview_seconds: float = float("inf")


@dataclass(frozen=True)
class Resumption:
    """A training that stopped, as read from disk.

    Attributes:
        tensors: for :meth:`Session.restore`.
        settings: to go on with.
        budget: the one it had, with what was given now in its place.
        data_digest: of the images it was trained on.
    """

    tensors: dict[str, Any]
    settings: dict[str, Any]
    budget: Budget
    data_digest: str

    def require_data(self, digest: str) -> None:
        """InputError unless the images are those the training began with."""
        if digest != self.data_digest:
            raise InputError(
                "the images are not those this training began with; restore them, or start over with --force"
            )


@dataclass(frozen=True)
class TrainingRun:
    """One training command's files.

    Args:
        command: its name.
        state: where the exact state is kept.
        log: the run's log file.
    """

    command: str
    state: Path
    log: Path

    def refuse_existing(self, force: bool, outputs: Collection[Path]) -> None:
        """OutputError if an unfinished training or a finished output is in the way and ``force`` was not given."""
        if force:
            return
        if self.state.is_file():
            _, _, done = load_state(self.state, self.command)
            if not done["finished"]:
                raise OutputError(
                    f"{self.state} holds an unfinished training (iteration {done['iteration']}); "
                    "continue it with --resume, or start over with --force"
                )
        for path in outputs:
            if path.exists():
                raise OutputError(
                    f"{path} already exists; train longer with --resume --iterations N, replace it with --force, "
                    "or choose another --run"
                )

    def resume(
        self,
        given: Mapping[str, Any],
        override: Collection[str],
        fixed: Collection[str],
        iterations: int | None,
        minutes: float | None,
    ) -> Resumption:
        """Read the state; see :func:`resumed_settings` for what may change."""
        tensors, stored, done = load_state(self.state, self.command)
        names = [name.replace("-", "_") for name in override]
        settings = resumed_settings(stored, given, names, fixed)
        if iterations is None and minutes is None:
            iterations, minutes = done["iterations"], done["minutes"]
        return Resumption(tensors, settings, Budget(iterations, minutes), done["data_digest"])

    def train(
        self,
        session: Session,
        batches: NoisyBatches,
        budget: Budget,
        settings: Mapping[str, Any],
        data_digest: str,
        save_outputs: Callable[[Session], None],
        preview: Callable[[Session], None],
        intervals: Intervals,
    ) -> None:
        """Train to the end of the budget.

        Raises:
            Interrupted: the user asked to stop; everything is saved.
            NonFiniteError: the loss is no number any more; the last good state is kept.
        """
        log = RunLog(self.log, self.command)
        log.rewind(session.iteration if session.iteration else -1)

        def save(current: Session) -> None:
            spent = budget.spent(current.iteration, current.seconds)
            done = {"iteration": current.iteration, "finished": spent, "data_digest": data_digest, **asdict(budget)}
            save_state(self.state, current.tensors(), settings, done)
            if current.iteration:
                save_outputs(current)

        with stop_requests() as should_stop, progress(self.command, budget.iterations, "iterations") as bar:

            def step(iteration: int) -> None:
                bar.update(iteration, total=round(budget.expected_iterations(iteration, session.seconds)))

            def record(entry: LogRecord) -> None:
                log.append(asdict(entry))
                bar.update(entry.iteration, f"loss {entry.loss:.4f}, {entry.images_per_second:.0f} images/s")

            if session.iteration == 0:
                save(session)
            finished = train(
                session,
                batches,
                budget,
                Callbacks(step, record, save, preview, should_stop),
                log_every=intervals.log_every,
                save_seconds=intervals.save_seconds,
                preview_seconds=intervals.preview_seconds,
            )
        if not finished:
            raise Interrupted(
                f"stopped at iteration {session.iteration}; everything is saved, go on with: "
                f"diffcov {self.command} --resume"
            )


def warn_small_batch(batch_size: int, lr: float) -> None:
    """Say so when a learning rate meant for large batches meets a tiny one."""
    if batch_size < 16:
        warn(f"batch size {batch_size} is small for learning rate {lr:g}; if the loss jumps, lower --lr")
