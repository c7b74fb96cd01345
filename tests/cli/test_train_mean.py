"""``train-mean``: tiny runs, resuming, stopping, and what it refuses."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from conftest import TINY
from diffcov.engines.training.config import TrainingConfig
from diffcov.engines.training.mean_fit import MeanObjective
from diffcov.engines.training.session import Session
from diffcov.store.checkpoint import load_mean
from diffcov.store.state import StateProgress, load_state, save_state
from diffcov.study.preview import LEAST, STEPS, Previews
from oracles.listening import Recorder


def tiny_but_for(options: list[str]) -> list[str]:
    """The smallest network, with these options in place of its own."""
    own = zip(TINY[::2], TINY[1::2], strict=True)
    return [word for name, value in own if name not in options for word in (name, value)] + options


def same_weights(a: Path, b: Path) -> bool:
    mine, theirs = load_file(a / "mean.safetensors"), load_file(b / "mean.safetensors")
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def logged(run: Path) -> list[int]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line["iteration"] for line in lines if line["command"] == "train-mean"]


def unfinished(run: Path) -> None:
    """Make a run's state say what a stop would have made it say."""
    path = run / "state" / "mean.safetensors"
    tensors, settings, progress = load_state(path)
    save_state(path, tensors, settings, replace(progress, finished=False))


def test_json_and_files(done: Callable[..., Any], tmp_path: Path) -> None:
    run = tmp_path / "run"
    found = done("train-mean", "--run", run, *TINY, "--iterations", 3)
    assert (found["mean"], found["iterations"]) == (str(run / "mean.safetensors"), 3)
    assert found["settings"]["channels"] == 8
    files = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert files == {"mean.safetensors", "state/mean.safetensors", "log.jsonl"}
    mean = load_mean(run / "mean.safetensors")
    assert mean.training["settings"] == found["settings"]
    assert mean.training["iterations"] == 3
    assert mean.training["data"]["source"] == "digits"
    assert mean.spec.reading.data.levels == 17


def test_stdout_is_the_path_and_stderr_says_what_next(cli: Any, tmp_path: Path) -> None:
    result = cli("train-mean", "--run", tmp_path / "run", *TINY, "--iterations", 1)
    assert result.exit_code == 0
    assert result.stdout == f"{tmp_path / 'run' / 'mean.safetensors'}\n"
    assert f"next: diffcov estimate-var --run {tmp_path / 'run'}" in result.stderr


def test_the_run_can_come_from_the_environment(cli: Any, tmp_path: Path) -> None:
    result = cli("train-mean", *TINY, "--iterations", 1, env={"DIFFCOV_RUN": str(tmp_path / "here")})
    assert result.exit_code == 0
    assert (tmp_path / "here" / "mean.safetensors").is_file()


def test_the_saved_weights_are_the_averaged_ones(trained: Path) -> None:
    state, _, _ = load_state(trained / "state" / "mean.safetensors")
    saved = load_file(trained / "mean.safetensors")
    for prefix, agrees in (("ema.", True), ("model.", False)):
        there = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        assert there.keys() == saved.keys()
        assert all(torch.equal(saved[name], there[name]) for name in saved) is agrees, prefix


def test_the_default_run_is_below_the_working_folder(cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = cli("train-mean", *TINY, "--iterations", 1)
    assert (tmp_path / "runs" / "default" / "mean.safetensors").is_file()
    assert result.stderr.endswith("next: diffcov estimate-var\n")


def test_same_seed_same_weights(cli: Any, trained: Path, tmp_path: Path) -> None:
    cli("train-mean", "--run", tmp_path / "same", *TINY, "--iterations", 3)
    cli("train-mean", "--run", tmp_path / "other", *TINY, "--iterations", 3, "--seed", 1)
    assert same_weights(tmp_path / "same", trained)
    assert not same_weights(tmp_path / "other", trained)


def test_dry_run_writes_nothing(done: Callable[..., Any], tmp_path: Path) -> None:
    found = done("train-mean", "--run", tmp_path / "run", *TINY, "--dry-run")
    assert found["settings"]["timesteps"] == 50
    assert found["iterations"] == 900
    assert list(tmp_path.iterdir()) == []


def test_dry_run_of_a_resumption_writes_nothing(done: Callable[..., Any], mean_run: Path) -> None:
    before = (mean_run / "state" / "mean.safetensors").read_bytes()
    found = done("train-mean", "--run", mean_run, "--resume", "--iterations", 9, "--dry-run")
    assert found["iterations"] == 9
    assert (mean_run / "state" / "mean.safetensors").read_bytes() == before


def test_dry_run_refuses_what_training_would(refused: Callable[..., str], tmp_path: Path) -> None:
    message = refused(2, "train-mean", "--run", tmp_path / "run", "--multipliers", "1,1,1,1,1", "--dry-run")
    assert "--multipliers 1,1,1,1" in message


def test_previews_are_written_and_change_nothing(cli: Any, trained: Path, tmp_path: Path) -> None:
    result = cli("train-mean", "--run", tmp_path / "run", *TINY, "--iterations", 3, "--preview-minutes", 1e-9)
    assert result.exit_code == 0
    folder = tmp_path / "run" / "samples" / "training"
    assert sorted(path.name for path in folder.iterdir()) == [f"iteration-{i:06d}.png" for i in (1, 2, 3)]
    assert same_weights(tmp_path / "run", trained)
    told = result.stderr.splitlines()
    assert f"previews of its samples: a sheet every 1e-09 minutes in {folder}/" in told
    assert f"the last preview, of the weights that were kept: {folder}/iteration-000003.png" in told


def test_the_last_preview_is_of_the_mean_that_is_kept(cli: Any, tmp_path: Path) -> None:
    """64 samples, pixel by pixel those that the saved mean draws with the same seeds, and no ragged tail."""
    run = tmp_path / "run"
    trained = cli("train-mean", "--run", run, *TINY, "--iterations", 9, "--preview-minutes", 1e-9, "--seed", 3)
    assert trained.exit_code == 0, trained.stderr
    words = ("--solver", "ddim", "--covariance", "small", "--steps", STEPS, "--last-noise", "off", "--seed", 3)
    drawn = cli("sample", "--run", run, *words, "--count", LEAST, "--recipe", "none")
    assert drawn.exit_code == 0, drawn.stderr
    with (
        Image.open(drawn.stdout.strip()) as now,
        Image.open(run / "samples" / "training" / "iteration-000009.png") as before,
    ):
        assert now.size == (8 * 42 + 2, 8 * 42 + 2)
        assert np.array_equal(np.asarray(now), np.asarray(before))


def test_where_there_were_previews_the_last_is_of_the_end(tmp_path: Path, mean_run: Path) -> None:
    """Also where the last one was drawn a while before."""
    heard, mean = Recorder(), load_mean(mean_run / "mean.safetensors")
    session = Session(MeanObjective(mean.model.requires_grad_(True)), TrainingConfig())
    folder = tmp_path / "previews"
    previews = Previews(folder, mean.spec, 0, 2.0, heard)
    previews.announce()
    previews.finish(session)
    assert not folder.exists(), "none were drawn, none is asked for"
    session.iteration = 5
    previews.draw(session)
    session.iteration = 7
    previews.finish(session)
    assert sorted(path.name for path in folder.iterdir()) == ["iteration-000005.png", "iteration-000007.png"]
    assert heard.notes == [
        f"previews of its samples: a sheet every 2 minutes in {folder}/",
        f"the last preview, of the weights that were kept: {folder}/iteration-000007.png",
    ]


@pytest.mark.parametrize("options", [["--minutes", "0.002"], ["--minutes", "9", "--iterations", "2"]])
def test_minutes(done: Callable[..., Any], tmp_path: Path, options: list[str]) -> None:
    found = done("train-mean", "--run", tmp_path / "run", *TINY, *options)
    assert found["iterations"] == 2 if "--iterations" in options else found["seconds"] >= 0.12


# --- resuming


def test_train_longer(cli: Any, mean_run: Path, tmp_path: Path) -> None:
    cli("train-mean", "--run", tmp_path / "whole", *TINY, "--iterations", 7)
    result = cli("train-mean", "--run", mean_run, "--resume", "--iterations", 7)
    assert result.exit_code == 0, result.stderr
    assert same_weights(mean_run, tmp_path / "whole")


def test_resume_with_the_same_options_again(cli: Any, mean_run: Path) -> None:
    result = cli("train-mean", "--run", mean_run, "--resume", *TINY, "--data", "digits", "--iterations", 4)
    assert result.exit_code == 0, result.stderr


def test_resuming_what_is_done_says_so(cli: Any, mean_run: Path) -> None:
    result = cli("train-mean", "--run", mean_run, "--resume")
    assert result.exit_code == 0
    done = "already finished: 3 iterations are done and the budget is spent; give more with --iterations or --minutes"
    assert done in result.stderr.splitlines()
    assert "error" not in result.stderr
    assert "preview" not in result.stderr, "there will be none"
    more = cli("train-mean", "--run", mean_run, "--resume", "--iterations", 9)
    assert (more.exit_code, "already finished" in more.stderr) == (0, False)


def test_resume_without_a_state(refused: Callable[..., str], tmp_path: Path) -> None:
    message = refused(3, "train-mean", "--run", tmp_path / "run", "--resume")
    assert "nothing to resume" in message
    assert f"diffcov train-mean --run {tmp_path / 'run'}" in message


def test_resume_with_a_changed_option(refused: Callable[..., str], mean_run: Path) -> None:
    message = refused(2, "train-mean", "--run", mean_run, "--resume", "--lr", "5e-4", "--iterations", 4)
    assert "lr 0.002 -> 0.0005" in message
    assert "--override lr" in message


@pytest.mark.parametrize("name", ["lr", "batch-size"])
def test_resume_with_an_accepted_change(done: Callable[..., Any], mean_run: Path, name: str) -> None:
    value = {"lr": 5e-4, "batch-size": 4}[name]
    found = done("train-mean", "--run", mean_run, "--resume", f"--{name}", value, "--override", name, "--iterations", 4)
    assert found["iterations"] == 4
    assert found["settings"][name.replace("-", "_")] == value


@pytest.mark.parametrize("options", [["--channels", "16"], ["--timesteps", "60"], ["--limit", "9"]])
def test_resume_cannot_change_shapes(refused: Callable[..., str], mean_run: Path, options: list[str]) -> None:
    name = options[0].removeprefix("--")
    message = refused(2, "train-mean", "--run", mean_run, "--resume", *options, "--override", name)
    assert f"cannot change its {name}" in message
    assert f"-> {options[1]}" in message


def test_an_unknown_override(refused: Callable[..., str], mean_run: Path) -> None:
    assert "no such setting" in refused(2, "train-mean", "--run", mean_run, "--resume", "--override", "speed")


def test_override_without_resume(refused: Callable[..., str], tmp_path: Path) -> None:
    message = refused(2, "train-mean", "--run", tmp_path / "run", *TINY, "--iterations", 1, "--override", "lr")
    assert "--override belongs to --resume; add --resume, or leave --override out" in message


def test_resume_with_force(refused: Callable[..., str], mean_run: Path) -> None:
    message = refused(2, "train-mean", "--run", mean_run, "--resume", "--force", "--iterations", 5)
    assert "--resume goes on and --force starts over; give one of them" in message


def test_a_damaged_state(refused: Callable[..., str], mean_run: Path) -> None:
    state = mean_run / "state" / "mean.safetensors"
    state.write_bytes(state.read_bytes()[:-5])
    assert "truncated" in refused(3, "train-mean", "--run", mean_run, "--resume", "--iterations", 5)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of 12 grey 8 x 8 images."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for i in range(12):
        Image.fromarray(draw.integers(0, 256, (8, 8), dtype=np.uint8)).save(folder / f"{i:02d}.png")
    return folder


def test_an_image_folder_trains_and_resumes_by_the_same_words(
    cli: Any, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was typed once can be typed again with --resume, a relative path too."""
    monkeypatch.chdir(tmp_path)
    words = ["train-mean", "--run", "run", "--data", "pictures", *TINY]
    assert cli(*words, "--iterations", 2).exit_code == 0
    result = cli(*words, "--iterations", 3, "--resume")
    assert result.exit_code == 0, result.stderr


def test_images_that_changed_since(refused: Callable[..., str], cli: Any, pictures: Path, tmp_path: Path) -> None:
    assert cli("train-mean", "--run", tmp_path / "run", "--data", pictures, *TINY, "--iterations", 2).exit_code == 0
    Image.new("L", (8, 8), 9).save(pictures / "03.png")
    message = refused(3, "train-mean", "--run", tmp_path / "run", "--resume", "--iterations", 3)
    assert "not those this training began with" in message


# --- what is in the way


def test_a_finished_mean_is_not_overwritten(refused: Callable[..., str], mean_run: Path) -> None:
    message = refused(1, "train-mean", "--run", mean_run, *TINY, "--iterations", 1)
    assert "mean.safetensors already exists" in message
    assert "--force" in message


def test_an_unfinished_training_is_not_overwritten(refused: Callable[..., str], mean_run: Path) -> None:
    unfinished(mean_run)
    message = refused(1, "train-mean", "--run", mean_run, *TINY, "--iterations", 1)
    assert "unfinished training (iteration 3)" in message
    assert "--resume" in message


def test_force_starts_over(cli: Any, mean_run: Path, trained: Path) -> None:
    unfinished(mean_run)
    assert cli("train-mean", "--run", mean_run, *TINY, "--iterations", 3, "--seed", 9, "--force").exit_code == 0
    assert not same_weights(mean_run, trained)
    assert logged(mean_run) == [3]


def test_the_run_is_a_file(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    assert "could not write" in refused(1, "train-mean", "--run", tmp_path / "run", *TINY, "--iterations", 1)


def test_full_disk(cli: Any, full_disk: Any, tmp_path: Path) -> None:
    """The folders made on the way are all that may remain."""
    with full_disk(20_000):
        result = cli("train-mean", "--run", tmp_path / "run", *TINY, "--iterations", 2)
    assert result.exit_code == 1
    assert "could not write" in result.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


# --- data


def test_mixed_sizes(refused: Callable[..., str], pictures: Path, tmp_path: Path) -> None:
    Image.new("L", (9, 8)).save(pictures / "05.png")
    message = refused(3, "train-mean", "--run", tmp_path / "run", "--data", pictures, *TINY)
    assert "differ in size" in message
    assert "05.png is 8x9" in message


def test_one_unreadable_image(refused: Callable[..., str], pictures: Path, tmp_path: Path) -> None:
    (pictures / "05.png").write_bytes((pictures / "05.png").read_bytes()[:40])
    message = refused(3, "train-mean", "--run", tmp_path / "run", "--data", pictures, *TINY)
    assert "cannot read 05.png" in message


@pytest.mark.parametrize(
    ("data", "reason"), [("absent", "no such file or folder"), ("empty", "format|no image"), ("text.txt", "not known")]
)
def test_data_that_is_none(refused: Callable[..., str], tmp_path: Path, data: str, reason: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("hello")
    message = refused(3, "train-mean", "--run", tmp_path / "run", "--data", tmp_path / data, *TINY)
    assert any(part in message for part in reason.split("|"))


# --- numbers


def test_a_loss_that_is_no_number(refused: Callable[..., str], mean_run: Path) -> None:
    """Poison the stored weights: the next loss is NaN. Exit 4, and the state stays what it was."""
    path = mean_run / "state" / "mean.safetensors"
    tensors, settings, progress = load_state(path)
    tensors["model.out.2.weight"] = torch.full_like(tensors["model.out.2.weight"], 1e30)
    save_state(path, tensors, settings, progress)
    message = refused(4, "train-mean", "--run", mean_run, "--resume", "--iterations", 5)
    assert "the loss became NaN or infinite at iteration 4, for t in " in message
    assert "the last good state is kept" in message
    assert message.endswith(f"diffcov train-mean --run {mean_run} --resume --lr 0.0005 --override lr")


def test_weights_that_overflow_are_never_saved(cli: Any, tmp_path: Path) -> None:
    """The first step is so long that float32 ends; the loss before it was a number."""
    run = tmp_path / "run"
    options = ["--lr", "1e39", "--warmup", 0, "--clip-norm", 0, "--iterations", 1, "--save-minutes", 0]
    result = cli("train-mean", "--run", run, *TINY, *options)
    assert result.exit_code == 4, result.stderr
    assert "a weight became NaN or infinite by iteration 1" in result.stderr.splitlines()[-1]
    assert not (run / "mean.safetensors").exists()
    tensors, _, progress = load_state(run / "state" / "mean.safetensors")
    assert progress.iteration == 0
    assert all(torch.isfinite(value).all() for value in tensors.values())


def test_outputs_are_saved_before_the_state(cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state never claims more than there is: a kill between the two is made good by --resume."""
    run, seen = tmp_path / "run", list[tuple[int, int | None]]()

    def spy(path: Path, tensors: Mapping[str, torch.Tensor], settings: Mapping[str, Any], done: StateProgress) -> None:
        mean = run / "mean.safetensors"
        seen.append((done.iteration, load_mean(mean).training["iterations"] if mean.is_file() else None))
        save_state(path, tensors, settings, done)

    monkeypatch.setattr("diffcov.study.training_run.save_state", spy)
    result = cli("train-mean", "--run", run, *TINY, "--iterations", 2, "--save-minutes", 0)
    assert result.exit_code == 0, result.stderr
    assert seen[0] == (0, None), "the start is saved, but no mean that was never trained"
    assert {(1, 1), (2, 2)} == set(seen[1:])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--timesteps", "0"], "--timesteps 0: a noise schedule needs T >= 1, found 0"),
        (["--timesteps", "20"], "--timesteps 20: the linear schedule with T=20"),
        (["--timesteps", "20"], "use T > 20 or the cosine schedule"),
        (["--lr", "-1"], "--lr must be a positive number, found -1"),
        (["--lr", "nan"], "--lr must be a positive number, found nan"),
        (["--ema-decay", "1"], "--ema-decay must be in [0, 1), found 1"),
        (["--batch-size", "0"], "--batch-size must be at least 1, found 0"),
        (["--minutes", "0"], "--minutes must be above 0, found 0"),
        (["--minutes", "inf"], "--minutes must be above 0, found inf"),
        (["--minutes", "nan"], "--minutes must be above 0, found nan"),
        (["--heads", "3"], "cannot be split into 3 attention heads"),
        (["--attention", "5"], "choose --attention from these, or none"),
        (["--multipliers", "1,1,1,1,1"], "use --multipliers 1,1,1,1"),
        (["--multipliers", "1,x"], "--multipliers takes whole numbers with commas between, such as 1,2,2; found 'x'"),
        (["--dropout", "1"], "dropout must be in [0, 1), found 1"),
        (["--device", "abacus"], "--device abacus cannot be used here"),
    ],
)
def test_values_that_cannot_be(refused: Callable[..., str], tmp_path: Path, options: list[str], words: str) -> None:
    message = refused(2, "train-mean", "--run", tmp_path / "run", *tiny_but_for(options), "--iterations", 1)
    assert words in message


@pytest.mark.parametrize(
    "options",
    [["--schedule", "sigmoid"], ["--preset", "lsun"], ["--iterations", "0"],
     ["--iterations", "many"], ["--limit", "0"], ["--precision", "fp8"], ["--speed"], ["--save-minutes", "-1"]],
    ids=" ".join,
)  # fmt: skip
def test_values_that_the_parser_refuses(unusable: Callable[..., str], tmp_path: Path, options: list[str]) -> None:
    assert options[0] in unusable("train-mean", "--run", tmp_path / "run", *TINY, *options)


# --- stopping


ITERATIONS = 150


@pytest.fixture(scope="module")
def uninterrupted(cli: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of ITERATIONS with dropout and flips, never stopped."""
    run = tmp_path_factory.mktemp("uninterrupted") / "run"
    result = cli("train-mean", "--run", run, *TINY, "--dropout", 0.1, "--flip", "--iterations", ITERATIONS)
    assert result.exit_code == 0
    return run


@pytest.mark.parametrize(
    "number",
    [pytest.param(signal.SIGINT, id="Ctrl-C"), pytest.param(signal.SIGTERM, id="SIGTERM", marks=pytest.mark.slow)],
)
def test_a_signal_saves_and_resuming_gives_the_same_bits(
    number: signal.Signals, uninterrupted: Path, cli: Any, refused: Callable[..., str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = ["--run", str(run), *TINY, "--dropout", "0.1", "--flip", "--iterations", str(ITERATIONS)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen(
        [sys.executable, "-m", "diffcov", "train-mean", *words, "--log-every", "1"],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not ((run / "log.jsonl").is_file() and len((run / "log.jsonl").read_text().splitlines()) >= 5):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert stdout == ""
    assert "Traceback" not in stderr
    stopped = int(load_state(run / "state" / "mean.safetensors")[0]["iteration"])
    assert 5 <= stopped < ITERATIONS, "stopped in the middle"
    assert stderr.splitlines()[-1].startswith(f"stopped at iteration {stopped}; everything is saved")
    assert load_mean(run / "mean.safetensors").training["iterations"] == stopped
    assert not list(run.rglob(".*"))

    assert "--resume" in refused(1, "train-mean", *words)
    result = cli("train-mean", "--run", run, "--resume", "--log-every", 1)
    assert result.exit_code == 0, result.stderr
    assert same_weights(run, uninterrupted)
    assert logged(run) == list(range(1, ITERATIONS + 1))
    states = [load_state(r / "state" / "mean.safetensors")[0] for r in (run, uninterrupted)]
    different = [name for name in states[0] if not torch.equal(states[0][name], states[1][name])]
    assert different == ["seconds"]


def test_the_advice_of_a_stopped_training_works_as_it_stands(cli: Any, tmp_path: Path) -> None:
    """It names the run, unless that is the default one."""
    run, ended = tmp_path / "run", threading.Event()

    def press_ctrl_c() -> None:
        while not ended.wait(0.005):
            if (run / "log.jsonl").is_file():  # so the training is listening
                os.kill(os.getpid(), signal.SIGINT)
                return

    presser = threading.Thread(target=press_ctrl_c)
    presser.start()
    result = cli("train-mean", "--run", run, *TINY, "--iterations", 5000, "--log-every", 1)
    ended.set()
    presser.join()
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1].endswith(f"go on with: diffcov train-mean --run {run} --resume")


def test_a_copied_run_resumes_elsewhere(cli: Any, mean_run: Path, tmp_path: Path) -> None:
    shutil.move(mean_run, tmp_path / "moved")
    result = cli("train-mean", "--run", tmp_path / "moved", "--resume", "--iterations", 4)
    assert result.exit_code == 0, result.stderr


def test_a_full_log_disk_does_not_end_a_training(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "log.jsonl").symlink_to("/dev/full")
    result = cli("train-mean", "--run", tmp_path / "run", *TINY, "--iterations", 4, "--log-every", 1)
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "run" / "mean.safetensors").is_file()
    told = [line for line in result.stderr.splitlines() if line.startswith("warning: could not write")]
    assert len(told) == 1
    assert told[0].endswith("the training goes on, with lines missing in its log")
