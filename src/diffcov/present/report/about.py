"""What was measured, on what, with what; what the covariances are; and how to do it again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from diffcov.present.digits import significant
from diffcov.present.report.grid import Result, box
from diffcov.present.report.markup import Html, join, tag

__all__ = ["again", "glossary", "setting"]


def setting(result: Result) -> Html:
    """A list of terms."""
    mean, data, settings = result["mean"], result["data"], result["settings"]
    schedule = result["schedule"]
    shape = f"{data['height']} × {data['width']}, {data['channels']} channel(s), {data['levels']} grey levels"
    learned = f"{mean['parameters']:,} parameters, {mean['iterations']:,} iterations" if mean["iterations"] else ""
    entries = [
        ("Model", f"{result['run']}: {learned or format(mean['parameters'], ',') + ' parameters'}"),
        ("Weights", f"digest {mean['digest'][:12]}"),
        ("Data", f"{data['source']}: {shape}"),
        ("Schedule", f"{schedule['name']}, T = {schedule['T']}"),
        ("bits/dim", f"{settings['images']} images of the {settings['split']} split"),
        ("Steps", f"{', '.join(map(str, result['steps']))} on the {settings['grid']} grid"),
        *_samples(settings),
        *_view(settings["view"], settings["network_calls_a_look"]),
        ("Where", f"{result['device']}, {significant(result['seconds'])} seconds in all"),
    ]
    return tag("dl", *(tag("div", tag("dt", term), tag("dd", text)) for term, text in entries))


def _view(view: Mapping[str, Any], calls: int) -> list[tuple[str, str]]:
    """What samples saw the mean through."""
    scale, guidance = view["eps_scale"], view["guidance"]
    divisor = "a number fitted for each cell (compare.csv has them)" if scale == "fitted" else f"{scale:g}"
    guided = [("Guidance", f"{guidance:g}: {calls} network calls a step")] if guidance != 1 else []
    return [
        ("eps_hat", "as predicted" if scale == 1 else f"divided in the mean by {divisor}"),
        ("x0_hat", "clipped to the range of the data" if view["clip_x0"] else "not clipped"),
        *guided,
    ]


def _samples(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How samples were drawn and compared; one line if none were."""
    reference = settings["reference"]
    if reference is None:
        return [("Samples", "none were drawn")]
    digest = (settings["features_digest"] or "none")[:12]
    split = f"{reference['count']} images of the {reference['split']} split of {reference['source']}"
    data = split if reference["split"] else f"the statistics in {reference['source']}"
    return [
        ("Samples", f"{settings['count']} for each cell, the same seeds in each; seed {settings['seed']}"),
        (
            "Distances",
            f"{settings['features']} features ({settings['dims']} dimensions, digest {digest}) against {data}",
        ),
    ]


def glossary(result: Result) -> Html:
    """The covariances: what each is, var_x0, and its source."""
    head = tag("tr", *(tag("th", text, scope="col") for text in ("covariance", "what it is", "var_x0", "source")))
    rows = [
        tag(
            "tr",
            tag("th", name, scope="row"),
            tag("td", one["summary"]),
            tag("td", tag("code", one["formula"])),
            tag("td", one["reference"]),
        )
        for name, one in result["covariances"].items()
    ]
    return box(join(tag("thead", head), tag("tbody", *rows)), "words")


def again(result: Result) -> Html:
    """The command and the version."""
    return join(
        tag("pre", tag("code", shlex.join(result["command"])), tabindex="0"),
        tag("p", f"Made by diffcov {result['diffcov_version']}. All numbers are in compare.json.", class_="note"),
    )
