"""Every digest recomputed, and the way from a sheet of samples to the images that the mean was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffcov.errors import InputError
from diffcov.store import artifact
from diffcov.store.comparison import load_result
from diffcov.store.parts import KIND as COMPARISON_PART
from diffcov.store.reference import load_reference
from diffcov.store.run import RunFolder
from diffcov.store.sample_set import is_sample_set
from diffcov.study.chain import Chain, State
from diffcov.study.describe import files_of
from diffcov.study.describe_images import is_run
from diffcov.study.listener import Listener, Silent
from diffcov.study.requests.describe import DescribeRequest
from diffcov.study.verify_data import ImageCheck, images_of
from diffcov.study.verify_files import RunFiles
from diffcov.study.verify_set import check_set, check_sheet, made_of

__all__ = ["verify"]


def verify(request: DescribeRequest, listener: Listener | None = None) -> Chain:
    """Recompute the digests of a run, a file, a set of samples or a sheet, and follow them to the data.

    Returns:
        Every link; nothing is raised for one that does not hold.

    Raises:
        InputError: nothing there.
    """
    path = request.path or request.place.run
    chain = Chain(path)
    images = ImageCheck(request.data, request.pictures, listener or Silent())
    if not path.exists():
        raise InputError(f"no such file or run: {path}; make a run with: diffcov train-mean")
    if is_sample_set(path):
        manifest = check_set(chain, path)
        _drawn(chain, path, manifest, request, images)
    elif is_run(path):
        _run(chain, RunFolder(path), request, images)
    elif path.suffix == ".png":
        said = check_sheet(chain, path, None) if not is_sample_set(path.parent) else check_set(chain, path.parent)
        _drawn(chain, path, said, request, images)
    else:
        _file(chain, path, request, images)
    return chain


def _run(chain: Chain, run: RunFolder, request: DescribeRequest, images: ImageCheck) -> None:
    files = RunFiles(chain, run, request.place.module)
    files.follow(files_of(run))
    for reference in sorted(run.path.glob("reference-*.npz")):
        _reference(chain, reference, files.parts)
    for part in sorted((run.comparison / "parts").glob("*.safetensors")):
        name = files.name(part)
        read = chain.reading(name, lambda part=part: artifact.read(part, COMPARISON_PART, finite=False))  # type: ignore[misc]
        if read is not None:
            chain.add(name, State.OK, f"its numbers have the digest {read.digest[:12]}")
    _comparison(chain, run, files)
    for folder in run.sample_sets():
        check_set(chain, folder, f"{files.name(folder)}/")
    files.say_what_is_not_sealed()
    images.follow(chain, files.parts)


def _comparison(chain: Chain, run: RunFolder, files: RunFiles) -> None:
    """Whether the comparison was made with the run's mean; its own numbers carry no digest."""
    name, mean = "compare/compare.json", files.mean()
    try:
        result = load_result(run.comparison)
        recorded = None if result is None else str(result["mean"]["digest"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        chain.add(
            name, State.CHANGED, f"{run.comparison / 'compare.json'} cannot be understood ({error}); compare again"
        )
        return
    if recorded is not None and mean is not None:
        chain.same(
            f"{name} -> {files.name(run.mean)}", mean.digest, recorded, f"compared with the mean {recorded[:12]}",
            "it was made with another mean; compare again with: diffcov compare",
        )  # fmt: skip


def _reference(chain: Chain, path: Path, parts: Mapping[str, Mapping[str, Any]]) -> None:
    read = chain.reading(path.name, lambda: load_reference(path, None, "the reference"))
    if read is None:
        return
    if read.sealed is None:
        chain.add(path.name, State.UNKNOWN, "it can be read, and was written before references carried a digest")
    elif not read.sealed:
        chain.add(path.name, State.CHANGED, f"{path} has another digest than it says; remove it, and it is made again")
    else:
        chain.add(path.name, State.OK, "mu and sigma have the digest that it says")
    known = {found["digest"] for part in parts.values() if (found := images_of(part)) is not None}
    if read.images and read.images not in known:
        said = f"of other images than the run's (digest {read.images[:12]}): those of a test split, or of --data"
        chain.add(f"{path.name} -> data", State.UNKNOWN, said)
    elif read.images:
        chain.add(f"{path.name} -> data", State.OK, f"of the images with the digest {read.images[:12]}")


def _file(chain: Chain, path: Path, request: DescribeRequest, images: ImageCheck) -> None:
    """One artefact or recipe, and what it was made of, in the run that it lies in or in the one that is named."""
    files = RunFiles(chain, RunFolder.around(path) or RunFolder(request.place.run), request.place.module)
    files.follow([path])
    files.say_what_is_not_sealed()
    images.follow(chain, files.parts)


def _drawn(
    chain: Chain, path: Path, said: Mapping[str, Any] | None, request: DescribeRequest, images: ImageCheck
) -> None:
    """Follow what a set or a sheet says of its sampler to the mean, to what it is made of, and to the data."""
    sampler = None if said is None else said.get("sampler")
    if said is None or not isinstance(sampler, Mapping) or "mean" not in sampler:
        chain.add("sampler", State.UNKNOWN, "nothing says how these were drawn")
        return
    recorded = str(sampler["mean"])
    files = _mean_of(chain, path, said, recorded, request)
    if files is None:
        chain.add(
            "sampler -> mean.safetensors", State.MISSING,
            f"the mean {recorded[:12]} is not at hand; name its run with --run",
        )  # fmt: skip
        return
    wanted = made_of(sampler)
    for file, digest in wanted.items():
        files.made_of("sampler", file, digest)
    files.follow(path for file in wanted if (path := files.run.path / file).is_file())
    mean = files.mean()
    link = f"sampler -> {files.run.mean}"
    if mean is not None:
        whole, changed = f"drawn from the mean {recorded[:12]}", "another mean is there; name the right run with --run"
        chain.same(link, mean.digest, recorded, whole, changed)
    elif files.name(files.run.mean) in files.parts:
        chain.add(link, State.UNKNOWN, "not compared: the mean is a program, which --module lets one call")
    files.say_what_is_not_sealed()
    images.follow(chain, files.parts)


def _mean_of(
    chain: Chain, path: Path, said: Mapping[str, Any], recorded: str, request: DescribeRequest
) -> RunFiles | None:
    """The run whose mean drew a set: of those where it could be the first that has it, else the first that has any."""
    written = said.get("mean")
    place = written.get("path") if isinstance(written, Mapping) else None
    named = [Path(place).parent] if isinstance(place, str) else []
    places = [
        place for place in (*path.absolute().parents[:4], *named, request.place.run) if RunFolder(place).mean.is_file()
    ]
    for place in places:
        aside = RunFiles(Chain(place), RunFolder(place), request.place.module)
        mean = aside.mean()
        if mean is not None and mean.digest == recorded:
            return RunFiles(chain, RunFolder(place), request.place.module)
    return RunFiles(chain, RunFolder(places[0]), request.place.module) if places else None
