"""What training the mean and fitting heads share: progress, log, saves, stopping, resuming."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from diffcov.engines.training.averages import LogRecord
from diffcov.engines.training.batches import NoisyBatches
from diffcov.engines.training.config import Budget
from diffcov.engines.training.early_stopping import Evaluation
from diffcov.engines.training.loop import Callbacks, Intervals, require_enough, train
from diffcov.engines.training.session import Session
from diffcov.errors import InputError, Interrupted, NonFiniteError, OutputError, ProcessLost, UsageError
from diffcov.processes.base import current
from diffcov.store.log import RunLog
from diffcov.store.state import StateProgress, load_state, read_progress, resumed_settings, save_state
from diffcov.study.listener import Listener
from diffcov.study.requests.train import ResumeChoice

__all__ = ["Resumption", "TrainingRun", "check_resume"]


def check_resume(choice: ResumeChoice) -> None:
    """Refuse (UsageError) wishes that contradict each other."""
    if choice.override and not choice.resume:
        raise UsageError("--override belongs to --resume; add --resume, or leave --override out")
    if choice.force and choice.resume:
        raise UsageError("--resume goes on and --force starts over; give one of them")


@dataclass(frozen=True)
class Resumption:
    """A training that stopped, as read from disk.

    Attributes:
        tensors: for :meth:`Session.restore`.
        settings: to go on with.
        budget: the one it had, with what was given now in its place.
        data_digest: of the images it was trained on.
        patience: the one it had.
    """

    tensors: dict[str, Any]
    settings: dict[str, Any]
    budget: Budget
    data_digest: str
    patience: int

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
        listener: told how far it is, and asked whether to stop.
        kinds: of the heads that it fits, with commas between, as others may be fitted in the same run at the same time.
    """

    command: str
    state: Path
    log: Path
    listener: Listener
    kinds: str = ""

    @property
    def again(self) -> str:
        """The command that goes on with it."""
        return f"diffcov {self.command} --resume" + (f" --kind {self.kinds}" if self.kinds else "")

    def refuse_existing(self, force: bool, outputs: Collection[Path]) -> None:
        """OutputError if an unfinished training or finished outputs are in the way and ``force`` was not given."""
        if force:
            return
        if self.state.is_file():
            _, done = read_progress(self.state)
            if not done.finished:
                raise OutputError(
                    f"{self.state} holds an unfinished training (iteration {done.iteration}); "
                    "continue it with --resume, or start over with --force"
                )
        for path in outputs:
            if path.exists():
                raise OutputError(
                    f"{path} already exists; train what is there longer with --resume --iterations N, "
                    "replace it with --force, or choose another --run"
                )

    def stored_settings(self) -> dict[str, Any]:
        """The settings of the training whose state is there.

        Raises:
            InputError: there is no state, or it is damaged.
        """
        self._require_state()
        settings, _ = read_progress(self.state)
        return settings

    def _require_state(self) -> None:
        if not self.state.is_file():
            raise InputError(f"nothing to resume: {self.state} does not exist; start with: diffcov {self.command}")

    def resume(
        self,
        given: Mapping[str, Any],
        choice: ResumeChoice,
        fixed: Collection[str],
        asked: Budget | None,
        of_before: Mapping[str, Any],
    ) -> Resumption:
        """Read the state; see :func:`resumed_settings` for what may change.

        Args:
            given: settings that were given now, by name.
            choice: which of them may differ.
            fixed: those that never may.
            asked: a budget that was given now.
            of_before: settings that states of an earlier version do not name.

        Raises:
            InputError: there is no state, or it is damaged.
            UsageError: an option differs.
        """
        self._require_state()
        tensors, stored, done = load_state(self.state)
        override = [name.replace("-", "_") for name in choice.override]
        settings = resumed_settings({**of_before, **stored}, given, override, fixed)
        return Resumption(
            tensors, settings, asked or Budget(done.iterations, done.minutes), done.data_digest, done.patience
        )

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
        patience: int = 0,
        accumulate: int = 1,
    ) -> None:
        """Train to the end of the budget.

        Outputs are saved before the state, so that a state never claims more than there is: a kill between the two
        is made good by --resume.

        Raises:
            UsageError: batches that cannot be cut into so many parts; nothing is touched.
            Interrupted: the user asked to stop; everything is saved.
            NonFiniteError: the loss is no number any more; the last good state is kept.
            ProcessLost: another process is gone; everything is saved, unless it was the first.
        """
        require_enough(batches.batch_size, accumulate)
        log = RunLog(self.log, self.command, self.kinds)
        log.rewind(session.iteration if session.iteration else -1)

        def save(current: Session) -> None:
            if current.iteration:
                save_outputs(current)
            over = current.over(budget)
            done = StateProgress(current.iteration, over, budget.iterations, budget.minutes, data_digest, patience)
            save_state(self.state, current.tensors(), settings, done)

        say = self.listener
        if session.iteration and session.over(budget):
            spent = budget.spent(session.iteration, session.seconds)
            why = "the budget is spent; give more with --iterations or --minutes"
            tired = "held-out images gain no more; go on with a larger --patience"
            say.note(f"already finished: {session.iteration} iterations are done and {why if spent else tired}")
        elif session.iteration:
            say.note(f"going on after iteration {session.iteration:,}")
        written = _Forgiving(log, say)
        with say.stop_requests() as stop, say.progress(self.command, budget.iterations, "iterations") as bar:

            def step(iteration: int) -> None:
                bar.update(iteration, total=budget.expected_iterations(iteration, session.seconds))

            def record(entry: LogRecord) -> None:
                written(asdict(entry))
                bar.update(entry.iteration, f"loss {entry.loss:.4f}", aside=f"{entry.images_per_second:.0f} images/s")

            def judged(found: Evaluation) -> None:
                written(asdict(found))
                nats = ", ".join(f"{kind} {value:.4f}" for kind, value in found.smoothed.items())
                bar.update(found.iteration, f"held-out nats {nats}")

            if session.iteration == 0:
                save(session)
            try:
                callbacks = Callbacks(step, record, judged, save, preview, stop)
                finished = train(session, batches, budget, callbacks, intervals, accumulate)
            except ProcessLost as error:
                if current().first:
                    session.require_finite()
                    save(session)
                until = f"up to iteration {session.iteration}" if current().first else "last"
                raise ProcessLost.told(
                    advice=f"what was saved {until} is kept, go on from there on any number of processes with: "
                    f"{self.again}"
                ) from error
            except NonFiniteError as error:
                raise NonFiniteError(
                    f"{error}; the last good state is kept, go on from it with a lower rate: "
                    f"{self.again} --lr {session.config.lr / 4:g} --override lr"
                ) from error
            if not finished:
                raise Interrupted(
                    f"stopped at iteration {session.iteration}; everything is saved, go on with: {self.again}"
                )


class _Forgiving:
    """Lines for a log whose disk may be full: the training goes on without them, and says so once."""

    def __init__(self, log: RunLog, listener: Listener) -> None:
        self._log, self._listener, self._warned = log, listener, False

    def __call__(self, record: Mapping[str, Any]) -> None:
        try:
            self._log.append(record)
        except OutputError as error:
            if not self._warned:
                self._listener.warn(f"{error}; the training goes on, with lines missing in its log")
            self._warned = True
