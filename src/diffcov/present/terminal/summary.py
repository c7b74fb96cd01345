"""What ``inspect`` says in about ten lines: what something is, whether it is whole, and what to type next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from diffcov.diffusion.schedule import NoiseSchedule
from diffcov.statistics.registry import load_all
from diffcov.store.paths import shown

__all__ = ["summary"]

Row = tuple[str, str]
FEW = 4
"""Names that are listed before the others are counted."""


def summary(report: Mapping[str, Any]) -> str:
    """Lines without padding at their ends, from a report of :func:`diffcov.study.describe.describe`."""
    parts, problems = report["parts"], report["problems"]
    if "sample_sets" in report:
        rows = list(_of_run(report))
    else:
        rows = [("file", _sized(report["path"], parts)), *_of_part(parts[0])]
    rows.append(("whole", _whole(parts, problems)))
    rows += [("problem", problem) for problem in problems]
    rows.append(("next", report["next"]))
    width = max(len(name) for name, _ in rows)
    return "\n".join(shown(f"{name:<{width}}  {text}".rstrip()) for name, text in rows)


def _sized(path: str, parts: Sequence[Mapping[str, Any]]) -> str:
    size = sum(part.get("bytes", 0) for part in parts)
    return f"{path} ({_bytes(size)})" if size else path


def _bytes(size: int) -> str:
    for unit, each in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= each:
            return f"{size / each:.3g} {unit}"
    return f"{size} bytes"


def _whole(parts: Sequence[Mapping[str, Any]], problems: Sequence[str]) -> str:
    if problems:
        return f"no: {len(problems)} problem(s), see below"
    kinds = {part["kind"] for part in parts}
    if kinds == {"images"}:
        return "yes: every image was read"
    if kinds == {"samples"}:
        if not parts[0]["sealed"]:
            return "not known: its manifest lists no files, as of an earlier version"
        return "every file is there; --verify recomputes their digests and follows them to the data"
    if kinds == {"sheet"}:
        return "it can be read; --verify recomputes its digest and follows it to the data"
    unproven = [part for part in parts if "not built" in part]
    if unproven:
        return f"not known: {unproven[0]['not built']}"
    count = f"{len(parts)} files have the digests" if len(parts) > 1 else "it has the digest"
    return f"yes: {count} that {'they say' if len(parts) > 1 else 'it says'}; --verify follows them to the data"


def _of_run(report: Mapping[str, Any]) -> Iterator[Row]:
    parts = report["parts"]
    kinds: dict[str, list[Mapping[str, Any]]] = {}
    for part in parts:
        kinds.setdefault(part["kind"], []).append(part)
    yield "run", _sized(report["path"], parts)
    for part in kinds.get("mean", []):
        yield from _of_mean(part)
    for part in kinds.get("state", []):
        if not part["finished"]:
            yield "training", f"{Path(part['path']).stem} at iteration {part['iteration']:,}, not finished"
    statistics = [one.kind for one in load_all() if one.kind in kinds]
    if statistics:
        yield "statistics", "; ".join(_measured(kinds[kind][0]) for kind in statistics)
    if "head" in kinds:
        yield "heads", ", ".join(part["covariance"] for part in kinds["head"])
    if "optimal-trajectories" in kinds:
        yield "grids", "optimal for " + ", ".join(part["covariance"] for part in kinds["optimal-trajectories"])
    if "recipe" in kinds:
        yield "recipes", "tuned for " + ", ".join(str(part["steps"]) for part in kinds["recipe"]) + " steps"
    if "eps-scale" in kinds:
        yield "scales", f"{len(kinds['eps-scale'])} fitted"
    sets = report["sample_sets"]
    if sets:
        yield "samples", _few(sets)
    if report["comparison"]:
        yield "comparison", "compare/compare.json, and the report beside it"


def _few(names: Sequence[str]) -> str:
    """The last of them, which are the newest, and how many there are more."""
    more = len(names) - FEW
    return ", ".join(names[-FEW:]) + (f" and {more} more" if more > 0 else "")


def _of_mean(part: Mapping[str, Any]) -> Iterator[Row]:
    data, schedule = part["data"], NoiseSchedule.from_spec(part["schedule"])
    size = f"{part['parameters']:,} parameters" if "parameters" in part else f"{part['numbers']:,} numbers"
    classes = f", {part['classes']} classes" if part["classes"] else ""
    yield (
        "mean",
        f"predicts {part['predicts']}, {size}, images {data['channels']} x {data['height']} x {data['width']} "
        f"with {data['levels']} levels{classes}; schedule {schedule.spec['name']}, T = {schedule.T}",
    )
    trained = part.get("trained on")
    if trained is not None:
        seen = f"{part['iterations']:,} iterations on " if "iterations" in part else ""
        own = f"{trained['count']} images of {trained['source']} ({trained['split']})"
        yield "data", seen + part.get("trained_on", own)  # more images than are at hand, in the package's own mean
    else:
        yield "data", "not known: it was not trained here"


def _measured(part: Mapping[str, Any]) -> str:
    count = part.get("samples")
    return f"{part['kind']}" + (f" of {count} samples" if count is not None else "")


def _of_part(part: Mapping[str, Any]) -> Iterator[Row]:
    made = KNOWN.get(part["kind"])
    if made is not None:
        yield from made(part)
        return
    yield "kind", _measured(part)
    for key in ("covariance", "steps", "sampler", "loss", "lengths", "scale", "accuracy", "iterations"):
        if key in part:
            yield key, str(part[key])
    if isinstance(part.get("data"), Mapping) and "source" in part["data"]:
        yield "data", f"{part['data']['count']} images of {part['data']['source']} ({part['data']['split']})"
    if "trunk" in part:
        yield "made for", f"the mean {part['trunk'][:12]}"
    if "finished" in part:
        yield "finished", "yes" if part["finished"] else "no"
    if "written by" in part:
        yield "written by", part["written by"]


def _of_samples(part: Mapping[str, Any]) -> Iterator[Row]:
    yield "samples", f"{part.get('count', '?')} images, {_how(part)}"
    yield from _origin(part)
    for sentence in part["contents"]:
        yield "contents", sentence


def _of_sheet(part: Mapping[str, Any]) -> Iterator[Row]:
    if not part["provenance"]:
        yield "sheet", "no provenance inside: it was drawn by an earlier version, or by something else"
        return
    yield "sheet", f"of {part.get('count', '?')} images, {_how(part)}"
    yield from _origin(part)


def _how(part: Mapping[str, Any]) -> str:
    try:
        made = part["sampler"]
        solver, covariance = made["solver"]["name"], made["covariance"]["name"]
        return f"{len(made['grid']['times'])} steps of {solver}, covariance {covariance}, seed {made['seed']}"
    except (LookupError, TypeError):
        return "drawn in a way that it does not say"


def _origin(part: Mapping[str, Any]) -> Iterator[Row]:
    sampler = part.get("sampler")
    if isinstance(sampler, Mapping):
        mean, digest = str(sampler.get("mean", "not said")), str(part.get("sampler_digest", "not said"))
        yield "drawn from", f"the mean {mean[:12]}, sampler {digest[:12]}"
    if "diffcov_version" in part:
        yield "written by", f"diffcov {part['diffcov_version']}"


def _of_images(part: Mapping[str, Any]) -> Iterator[Row]:
    yield "images", f"{part['count']} {part['images']}; {part['read as']}"
    yield "split", f"{part['split']} of {', '.join(part['splits'])}"
    names = f" ({_few(part['class names'])})" if part["class names"] else ""
    yield "classes", f"{part['classes']}{names} from {part['labels from']}" if part["classes"] else "none"
    yield "levels", f"darkest, mean, brightest: {part['darkest, mean, brightest']}"
    yield "duplicates", str(part["duplicates"])
    yield "digest", part["digest"]
    for key in ("remarks", "warnings"):
        for sentence in part[key]:
            yield key[:-1], sentence


KNOWN: Mapping[str, Callable[[Mapping[str, Any]], Iterator[Row]]] = {
    "mean": _of_mean,
    "samples": _of_samples,
    "sheet": _of_sheet,
    "images": _of_images,
}
"""Parts that are told in sentences of their own."""
