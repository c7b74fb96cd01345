"""Progress on terminals of every width: one line that fits, with the count and the time to go; log lines elsewhere."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from rich.console import Console

from diffcov.cli import progress
from diffcov.cli.progress import Bar, Lines

WIDTHS = (120, 80, 60, 40)


def bar_at(width: int, title: str = "train-mean", total: float | None = 20_000, unit: str = "iterations") -> Bar:
    """A bar that is 100 seconds old, on a terminal of this width."""
    made = Bar(title, total, unit, Console(width=width, file=io.StringIO(), _environ={}))
    made.update(0)
    made.pace.started -= 100
    made.pace.begun -= 100
    return made


def shown(made: Bar) -> list[str]:
    made.console.print(made.line())
    out = made.console.file
    assert isinstance(out, io.StringIO)
    return out.getvalue().splitlines()


def test_one_line_that_fits_with_count_and_time_to_go() -> None:
    for width in range(24, 140):
        made = bar_at(width)
        made.update(5000, "loss 0.1234", aside="3560 images/s")
        (line,) = shown(made)
        assert len(line) < width
        assert "5000/20000" in line
        assert "left 5:00" in line or "left 4:59" in line


@pytest.mark.parametrize(
    ("width", "there", "gone"),
    [
        (120, ("train-mean", "iterations/s", "1:40", "loss 0.1234", "3560 images/s"), ()),
        (80, ("train-mean", "loss 0.1234"), ("images/s",)),
        (60, ("train-mean", "loss 0.1234"), ("images/s", "iterations/s", "1:40")),
        (40, ("train-mean",), ("images/s", "loss", "━")),
    ],
)
def test_images_a_second_go_first_then_the_loss(width: int, there: tuple[str, ...], gone: tuple[str, ...]) -> None:
    made = bar_at(width)
    made.update(5000, "loss 0.1234", aside="3560 images/s")
    (line,) = shown(made)
    assert all(word in line for word in there), line
    assert not any(word in line for word in gone), line


@pytest.mark.parametrize("width", WIDTHS)
def test_a_long_title_is_cut_and_nothing_else_is(width: int) -> None:
    made = bar_at(
        width, "spectral, sde-dpmpp-2m of order 2 with eta 0.75, logsnr grid, 50 steps, beside others", 123_456
    )
    made.update(100_000, "fid 1.234")
    (line,) = shown(made)
    assert len(line) < width
    assert "100000/123456 " in line
    assert "left " in line
    assert ("…" in line) == (width < 120)


@pytest.mark.parametrize("width", WIDTHS)
def test_what_has_no_end_has_a_count(width: int) -> None:
    made = bar_at(width, "sweep", None, "images")
    made.update(777)
    (line,) = shown(made)
    assert len(line) < width
    assert " 777 " in line
    assert "left -:--" in line


def test_a_total_known_better_changes_the_time_to_go() -> None:
    made = bar_at(80)
    made.update(5000, total=10_000)
    assert "5000/10000" in shown(made)[0]
    assert made.pace.left == pytest.approx(100, rel=0.01)
    made.update(10_000)
    assert "done" in shown(made)[-1]


def test_what_was_done_before_does_not_count_for_the_rate() -> None:
    """A training that goes on at 900 of 1000, and made 50 in 100 seconds."""
    made = Bar("train-mean", 1000, "iterations", Console(width=80, file=io.StringIO(), _environ={}))
    made.update(900)
    made.pace.started -= 100
    made.update(950)
    assert made.pace.rate == pytest.approx(0.5, rel=0.01)
    assert made.pace.left == pytest.approx(100, rel=0.01)


def test_lines_say_all(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PLAIN_INTERVAL", 0.0)
    lines = Lines("train-mean", 400, "iterations")
    lines.update(0)
    lines.pace.started = time.monotonic() - 100
    lines.update(100, "loss 0.5000", aside="99 images/s")
    lines.say()
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "train-mean: 0/400 iterations"
    assert re.fullmatch(
        r"train-mean: 100/400 iterations, 1\.0 iterations/s, (5:00|4:59) to go, loss 0\.5000, 99 images/s", said[1]
    )
    assert len(said) == 2, "what was said is not said again"


SCRIPT = """
import time
from diffcov.cli.console import Console
with Console().progress("train-mean", 20000, "iterations") as bar:
    bar.update(0)
    time.sleep(0.3)
    for done in (5000, 9000, 20000):
        bar.update(done, "loss 0.1234", aside="3560 images/s")
        time.sleep(0.3)
"""


@pytest.mark.parametrize("width", WIDTHS)
def test_on_a_terminal_of_this_width_it_never_breaks_a_line(width: int) -> None:
    """A pseudo-terminal: whatever is drawn between two moves of the cursor fits, and the bar stays on one line."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdin=theirs, stdout=theirs, stderr=theirs,
        env={**environment, "TERM": "xterm-256color"}, close_fds=True,
    ) as process:  # fmt: skip
        os.close(theirs)
        raw = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:  # Linux's word for the end of a terminal
                break
            if not part:
                break
            raw += part
        assert process.wait(timeout=30) == 0, raw
    os.close(ours)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", raw.decode())
    lines = [line for line in re.split(r"[\r\n]+", plain) if line.strip()]
    assert len(lines) >= 3
    assert all(len(line) < width for line in lines), lines
    assert all("/20000" in line and ("left" in line or "done" in line) for line in lines)
    assert raw.count(b"\n") <= 1, "one line, which is drawn again in its place"


def test_without_a_terminal_it_is_lines(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("train-mean: 20000/20000 iterations, ")
    assert line.endswith("loss 0.1234, 3560 images/s")
    assert "\x1b" not in line
