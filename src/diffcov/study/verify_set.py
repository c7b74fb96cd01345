"""A set of samples, from its sheet to the mean that drew it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from diffcov.digest import digest_of_values
from diffcov.store.sample_set import MANIFEST, SHEET, load_manifest
from diffcov.store.seal import file_digest, manifest_digest, read_sheet
from diffcov.study.chain import Chain, State

__all__ = ["check_set", "check_sheet", "made_of"]

AGAIN = "draw the samples again, or restore a copy"
FEW = 12
"""Files of a folder that have a line each; more share one."""


def check_set(chain: Chain, folder: Path, prefix: str = "") -> dict[str, Any] | None:
    """Note whether a set is what its manifest says; returns the manifest, None if it cannot be read.

    Args:
        chain: where links are noted.
        folder: of the set.
        prefix: of the names of its files in links.
    """
    manifest = chain.reading(f"{prefix}{MANIFEST}", lambda: load_manifest(folder))
    if manifest is None:
        return None
    check_sheet(chain, folder / SHEET, manifest, prefix)
    name = f"{prefix}{MANIFEST}"
    if "digest" in manifest:
        whole, changed = "it says what was written", f"something in it was changed; {AGAIN}"
        chain.same(name, manifest_digest(manifest), str(manifest["digest"]), whole, changed)
    else:
        chain.add(name, State.UNKNOWN, "written before manifests carried digests of the set's files and their own")
    _files(chain, folder, manifest, prefix)
    _sampler(chain, manifest, prefix)
    return manifest


def check_sheet(
    chain: Chain, path: Path, manifest: Mapping[str, Any] | None, prefix: str = ""
) -> Mapping[str, Any] | None:
    """Note whether a sheet shows what was drawn and belongs to a manifest; returns what it says itself, if anything."""
    name = f"{prefix}{path.name}"
    if not path.is_file():
        chain.add(name, State.MISSING, f"{path} is not there; {AGAIN}")
        return None
    read = chain.reading(name, lambda: read_sheet(path))
    if read is None:
        return None
    said, pixels = read
    if said is None:
        chain.add(name, State.UNKNOWN, "no provenance inside: drawn by an earlier version, or by something else")
        return None
    chain.same(
        name, pixels, said["pixels"], "its pixels are those that were drawn", f"its pixels were changed; {AGAIN}"
    )
    if manifest is not None:
        told = {key: value for key, value in said.items() if key not in ("pixels", "diffcov_version")}
        other = [key for key, value in told.items() if manifest.get(key) != value]
        state = State.CHANGED if other else State.OK
        words = (
            f"the sheet says another {other[0]} than the manifest" if other else "both say the same sampler and count"
        )
        chain.add(f"{name} -> {prefix}{MANIFEST}", state, words)
    else:
        _sampler(chain, said, prefix, path.name)
    return said


def made_of(values: Any) -> dict[str, str]:
    """The digests of all files that a sampler, as plain values, was made of, by their names."""
    if not isinstance(values, Mapping):
        return {}
    own = values.get("made_of")
    found = {str(name): str(digest) for name, digest in own.items()} if isinstance(own, Mapping) else {}
    for key, inner in values.items():
        found |= {} if key == "made_of" else made_of(inner)
    return found


def _sampler(chain: Chain, said: Mapping[str, Any], prefix: str, where: str = MANIFEST) -> None:
    if "sampler" not in said:
        return
    whole, changed = "what decides the images has the digest that it says", f"the sampler was changed; {AGAIN}"
    chain.same(
        f"{prefix}{where} -> sampler",
        digest_of_values(said["sampler"]),
        str(said.get("sampler_digest")),
        whole,
        changed,
    )


def _files(chain: Chain, folder: Path, manifest: Mapping[str, Any], prefix: str) -> None:
    listed = manifest.get("files")
    if not isinstance(listed, Mapping):
        chain.add(
            f"{prefix}files", State.UNKNOWN, "the manifest says no digests of the set's files: an earlier version's"
        )
        return
    whole: dict[str, list[str]] = {}
    for name, recorded in listed.items():
        inside = not Path(name).is_absolute() and ".." not in Path(name).parts
        if not inside or not (folder / name).is_file():
            chain.add(f"{prefix}{name}", State.MISSING, f"{folder / name} is not there; {AGAIN}")
            continue
        found = chain.reading(f"{prefix}{name}", partial(file_digest, folder / name))
        if found is None:
            continue
        if found == recorded:
            whole.setdefault(str(Path(name).parent), []).append(name)
        else:
            chain.same(f"{prefix}{name}", found, str(recorded), "", f"{folder / name} was changed; {AGAIN}")
    for parent, names in whole.items():
        together = [f"{parent}/ ({len(names)} files)"] if len(names) > FEW else names
        for name in together:
            chain.add(f"{prefix}{name}", State.OK, "its bytes have the sha256 that the manifest says")
    for extra in _extra(folder, listed):
        chain.add(f"{prefix}{extra}", State.UNKNOWN, "it is not named in the manifest")


def _extra(folder: Path, listed: Mapping[str, Any]) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in listed and name != MANIFEST:
            yield name
