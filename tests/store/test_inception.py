"""The Inception file: found, fetched once, checked always; a tiny file from this machine stands for it."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from diffcov.data import DataDescription
from diffcov.errors import InputError, OutputError
from diffcov.store.inception import INCEPTION, Weights, find_weights, inception_file
from diffcov.store.torchscript import load_torchscript
from oracles.scripted import Inceptionlike, save_scripted


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; counts the requests; cuts one file short."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path == "/short.pt":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"x" * 10)
        else:
            super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on stderr."""


@pytest.fixture
def published(tmp_path: Path) -> Path:
    (tmp_path / "site").mkdir()
    return save_scripted(tmp_path / "site" / "tiny.pt", Inceptionlike())


@pytest.fixture
def server(published: Path) -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []
    handler = type("Handler", (Quiet,), {"asked": asked})
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(handler, directory=str(published.parent))
    ) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_port}", asked
        finally:
            listening.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("DIFFCOV_INCEPTION", raising=False)
    return tmp_path / "cache" / "diffcov"


def tiny(published: Path, url: str) -> Weights:
    return Weights("tiny.pt", url, hashlib.sha256(published.read_bytes()).hexdigest(), published.stat().st_size)


def test_the_published_file() -> None:
    assert INCEPTION.url.endswith(f"/{INCEPTION.name}")
    assert (len(INCEPTION.sha256), INCEPTION.size) == (64, 95607719)


def test_is_fetched_once_and_works(published: Path, server: tuple[str, list[str]], own_cache: Path) -> None:
    weights, fetched, told = tiny(published, f"{server[0]}/tiny.pt"), list[Path](), list[int]()
    path = inception_file(weights, fetched.append, told.append)
    assert path == own_cache / "tiny.pt"
    assert path.read_bytes() == published.read_bytes()
    assert fetched == [path]
    assert told[-1] == weights.size
    assert inception_file(weights, fetched.append) == path
    assert (fetched, server[1]) == ([path], ["/tiny.pt"]), "the second time it is there"
    assert [entry.name for entry in own_cache.iterdir()] == ["tiny.pt"]
    assert load_torchscript(path, DataDescription(1, 4, 4), torch.device("cpu")).dims == 1


def test_a_file_url_will_do(published: Path) -> None:
    assert inception_file(tiny(published, published.as_uri())).read_bytes() == published.read_bytes()


def test_where_it_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    assert find_weights(INCEPTION) == own_cache / INCEPTION.name
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert find_weights(INCEPTION) == tmp_path / "home" / ".cache" / "diffcov" / INCEPTION.name
    monkeypatch.setenv("DIFFCOV_INCEPTION", str(tmp_path / "mine.pt"))
    assert find_weights(INCEPTION) == tmp_path / "mine.pt"


def test_the_variable_names_a_file_and_nothing_is_fetched(
    published: Path, server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    weights = tiny(published, f"{server[0]}/tiny.pt")
    monkeypatch.setenv("DIFFCOV_INCEPTION", str(published))
    assert inception_file(weights) == published
    monkeypatch.setenv("DIFFCOV_INCEPTION", str(published.parent / "gone.pt"))
    with pytest.raises(InputError, match=r"\$DIFFCOV_INCEPTION names .*gone\.pt, which is no file; put tiny\.pt there"):
        inception_file(weights)
    assert server[1] == []
    assert not own_cache.exists()


def test_other_bytes_are_refused(published: Path, server: tuple[str, list[str]], own_cache: Path) -> None:
    weights = tiny(published, f"{server[0]}/tiny.pt")
    path = inception_file(weights)
    path.write_bytes(b"another")
    with pytest.raises(InputError, match=r"tiny\.pt is not tiny\.pt: its sha256 is .*remove it"):
        inception_file(weights)
    path.unlink()
    published.write_bytes(b"changed upstream")
    with pytest.raises(InputError) as caught:
        inception_file(weights)
    assert weights.url in str(caught.value)
    assert weights.sha256[:12] in str(caught.value)
    assert list(own_cache.iterdir()) == [], "nothing wrong is kept"


@pytest.mark.parametrize("name", ["short.pt", "gone.pt"])
def test_a_fetch_that_fails_says_where_to_put_the_file(
    name: str, published: Path, server: tuple[str, list[str]], own_cache: Path
) -> None:
    weights = tiny(published, f"{server[0]}/{name}")
    with pytest.raises(InputError) as caught:
        inception_file(weights)
    for part in ("tiny.pt is not here and cannot be fetched", weights.url, str(own_cache / "tiny.pt"), "$DIFFCOV_"):
        assert part in str(caught.value)
    assert list(own_cache.iterdir()) == []


def test_without_a_network(published: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be fetched \(.*refused.*\); get it from http://127"):
        inception_file(tiny(published, "http://127.0.0.1:9/tiny.pt"))


def test_a_cache_that_cannot_be_written(published: Path, own_cache: Path) -> None:
    own_cache.parent.mkdir()
    own_cache.write_text("a file where the folder should be")
    with pytest.raises(OutputError, match="could not write"):
        inception_file(tiny(published, published.as_uri()))
