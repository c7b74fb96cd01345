"""Every reader against broken and hostile files: success or one of our errors, in seconds, and nothing is run.

``DIFFCOV_FUZZ=10000 pytest tests/fuzz -k few`` says how many files in all; the default tests take a few of each kind,
the slow tier a twentieth of that. The default tests always break files alike, so that they answer for a change and not
for luck; ``DIFFCOV_FUZZ_SEED`` is another seed. Both stand at the top of pytest's output.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from diffcov.errors import DiffcovError
from fuzz.corpus import KINDS, Kind
from fuzz.guard import guarded
from fuzz.mutations import edits
from fuzz.seed import ASKED, SEED

FEW, TWENTIETH = 3, 500


def files_of_each(total: int) -> int:
    return -(-total // len(KINDS))


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture
def content(kind: Kind, tmp_path: Path) -> bytes:
    """A good file."""
    path = tmp_path / "good" / kind.name
    path.parent.mkdir()
    kind.make(path)
    try:
        with guarded():
            kind.read(kind.place(path.parent))
    except DiffcovError as error:  # a stranger's model of a family that nobody knows is refused, whole as it is
        assert "model" in kind.name, error
    return path.read_bytes()


def attack(kind: Kind, content: bytes, folder: Path, examples: int) -> None:
    beside = {path.name: path.read_bytes() for path in (folder / "good").iterdir() if path.name != kind.name}

    @seed(SEED)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        print_blob=True,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def once(data: st.DataObject) -> None:
        place = folder / "bad"
        place.mkdir(exist_ok=True)
        for name, whole in beside.items():
            (place / name).write_bytes(whole)
        bad = content
        for edit in data.draw(edits(len(content))):
            bad = edit(bad)
        (place / kind.name).write_bytes(bad)
        try:
            with guarded():
                kind.read(kind.place(place))
        except DiffcovError as error:
            said = str(error)
            assert said
            assert "\n" not in said.strip(), "one sentence"

    once()


def test_a_few_broken_files_of_each_kind(kind: Kind, content: bytes, tmp_path: Path) -> None:
    attack(kind, content, tmp_path, files_of_each(ASKED) if ASKED else FEW)


@pytest.mark.slow
def test_a_twentieth_of_many(kind: Kind, content: bytes, tmp_path: Path) -> None:
    attack(kind, content, tmp_path, files_of_each(TWENTIETH))
