"""Talk never kills work: streams that nobody reads, that are full, that are closed, and whole commands beside them."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from diffcov.cli.voice import Voice

TRAIN = ("train-mean", "--run", "r", "--iterations", "3", "--channels", "8", "--blocks", "1", "--preview-minutes", "0")


class Full(io.StringIO):
    """A stream on a full disk."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def command(tmp_path: Path, *arguments: str, shell: str = '"$@"') -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {shell}", "bash", sys.executable, "-m", "diffcov", *arguments],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_words_arrive_while_somebody_listens() -> None:
    stream = io.StringIO()
    voice = Voice(stream)
    voice.write("one ")
    voice.write("two")
    voice.flush()
    assert stream.getvalue() == "one two"
    assert voice.lost is None
    assert voice.unheard is None


def test_a_full_disk_ends_talk_and_says_why() -> None:
    voice = Voice(Full())
    assert voice.write("words") == 5
    voice.flush()
    assert voice.unheard == "No space left on device"
    assert not voice.isatty()


def test_a_reader_that_goes_away_has_read_enough() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w", encoding="utf-8") as pipe:
        voice = Voice(pipe)
        voice.write("words")
        voice.flush()
        assert isinstance(voice.lost, BrokenPipeError)
        assert voice.unheard is None
        with pytest.raises(BrokenPipeError):
            pipe.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), write)


def test_a_closed_stream_and_none_at_all_are_silent() -> None:
    closed = io.StringIO()
    closed.close()
    for voice in (Voice(closed), Voice(None)):
        voice.write("words")
        voice.flush()
        assert not voice.isatty()
    assert Voice(None).encoding == "utf-8"


def test_characters_that_an_encoding_lacks_are_said_by_their_numbers() -> None:
    raw = io.BytesIO()
    voice = Voice(io.TextIOWrapper(raw, encoding="latin-1"))
    voice.write("a \u2192 b")
    voice.flush()
    assert raw.getvalue() == b"a \\u2192 b"
    assert voice.lost is None


@pytest.mark.parametrize(
    "shell",
    [
        pytest.param('"$@" 2>/dev/full', id="stderr full", marks=pytest.mark.slow),
        pytest.param('"$@" 2>&-', id="stderr closed", marks=pytest.mark.slow),
        pytest.param('"$@" >&- 2>&- <&-', id="all closed", marks=pytest.mark.slow),
        pytest.param('"$@" 2> >(true)', id="nobody reads stderr"),
        pytest.param('"$@" | true', id="nobody reads stdout", marks=pytest.mark.slow),
    ],
)
def test_a_training_is_saved_whoever_listens(tmp_path: Path, shell: str) -> None:
    done = command(tmp_path, *TRAIN, shell=shell)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    seen = command(tmp_path, "inspect", "r", "--json")
    assert seen.returncode == 0, seen.stderr
    assert '"iteration": 3' in seen.stdout or '"iterations": 3' in seen.stdout


@pytest.mark.slow
def test_a_result_that_is_nowhere_else_is_an_error_where_it_cannot_be_written(tmp_path: Path) -> None:
    done = command(tmp_path, *TRAIN, shell='"$@" >/dev/full')
    assert done.returncode == 0
    assert "warning: the result could not be written to stdout (No space left on device)" in done.stderr
    full = command(tmp_path, "inspect", "r", "--json", shell='"$@" >/dev/full')
    assert full.returncode == 1
    assert full.stderr.strip().splitlines() == [
        "error: the result could not be written to stdout (No space left on device); free some space, or redirect "
        "elsewhere"
    ]
    assert command(tmp_path, "inspect", "r", "--json", shell='"$@" | true').returncode == 0


def test_a_closed_descriptor_is_not_taken_by_a_file(tmp_path: Path) -> None:
    """Else a library's words to descriptor 2 would be written into a checkpoint."""
    script = (
        "from diffcov.runtime import fill_standard_descriptors; fill_standard_descriptors(); import os; "
        "os.write(2, b'words of a library'); opened = open('file', 'w'); assert opened.fileno() > 2; opened.close()"
    )
    done = subprocess.run(["bash", "-c", '"$@" 2>&-', "bash", sys.executable, "-c", script], cwd=tmp_path)
    assert done.returncode == 0
    assert (tmp_path / "file").read_text() == ""
