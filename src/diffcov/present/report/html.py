"""The page: one file, no network, light and dark, wide and narrow."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

from torch import Tensor

from diffcov.present import plots
from diffcov.present.report import calibration, exposure
from diffcov.present.report.about import again, glossary, setting
from diffcov.present.report.curves import WITHOUT, figure, series_colours
from diffcov.present.report.grid import Result, metric
from diffcov.present.report.headline import findings, headline
from diffcov.present.report.markup import Html, drawing, join, tag
from diffcov.present.report.samplers import sampler_parts
from diffcov.present.report.sheets import Sheets, sample_sheets
from diffcov.present.report.tables import bits, distances

__all__ = ["page"]


def page(
    result: Result,
    sheets: Sheets,
    levels: int,
    sampler_sheets: Mapping[tuple[str, int], Tensor] | None = None,
    real: Tensor | None = None,
) -> str:
    """The report of a comparison, as HTML.

    Args:
        result: what ``compare.json`` holds.
        sheets: (covariance, solver, steps) -> (N, C, H, W) uint8 grey levels; image i has the same seed in each.
        sampler_sheets: (sampler, steps) -> the same.
        levels: number of grey levels.
        real: (N, C, H, W) uint8 grey levels of real images, shown above the samples.
    """
    sections = _sections(result, sheets, levels, real)
    if result["sampler_cells"]:
        parts = sampler_parts(result, sampler_sheets or {}, levels, real)
        sections.insert(1, ("Samplers", join(tag("p", SAMPLERS), parts)))
    title = f"diffcov compare: {result['run']}"
    style = join(series_colours(), drawing(_own("style.css")))
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", style),
    )
    links = (tag("a", name, href=f"#{_anchor(name)}") for name, _ in sections)
    top = tag(
        "header",
        tag("p", f"diffcov compare · {result['run']} · {result['data']['source']}", class_="over"),
        tag("h1", headline(result)),
        tag("ul", *(tag("li", one) for one in findings(result)), class_="findings"),
        tag("nav", *links, aria_label="Sections"),
    )
    body = (tag("section", tag("h2", name), content, id=_anchor(name)) for name, content in sections)
    main = tag("main", top, *body)
    body_of_page = tag("body", main, tag("script", drawing(_own("page.js"))))
    return f"<!DOCTYPE html>\n{tag('html', head, body_of_page, lang='en')}\n"


def _own(name: str) -> str:
    return (files("diffcov.present.report") / name).read_text(encoding="utf-8")


def _sections(result: Result, sheets: Sheets, levels: int, real: Tensor | None) -> list[tuple[str, Html]]:
    curves = tag("p", WITHOUT)
    if plots.available():
        curves = figure(result, "curves", lambda r: [*plots.bits_panels(r), *plots.frechet_panels(r)])
    found = [
        ("What was measured", setting(result)),
        ("Bits per dimension", join(tag("p", BITS), bits(result))),
        ("Distance to real images", join(tag("p", _distances_note(result)), distances(result))),
        ("Curves", curves),
        ("Samples", join(tag("p", SAMPLES), sample_sheets(result, sheets, levels, real))),
    ]
    if result["calibration"] is not None:
        tables = calibration.calibration_tables(result["calibration"])
        drawn = figure(result, "calibration", plots.calibration_panels)
        found.append(("Calibration", join(tag("p", calibration.READING), drawn, tables)))
    if result["exposure"]:
        found.append(("Exposure", join(tag("p", exposure.READING), exposure.exposure_parts(result))))
    return [*found, ("The covariances", glossary(result)), ("Do it again", again(result))]


BITS = (
    "An upper bound on the negative log-likelihood, and one standard error over images. Lower is better. Bold is the "
    "lowest and whatever lies above it by no more than two standard errors of the paired difference."
)
SAMPLERS = (
    "What a user with so many network calls would pick: solvers as they are published, on the same seeds, without a "
    "covariance unless their name says one. Lower is better; bold is the lowest and what cannot be told from it."
)
SAMPLES = (
    "The same seeds in every sheet: image i begins from the same noise everywhere, and the noise of each step is the "
    "same picture under every covariance. The real images are held-out ones, and have nothing to do with the seeds."
)


def _distances_note(result: Result) -> str:
    real = result["real"]
    floor = (
        "No held-out images were enough to measure real data."
        if real is None
        else f"The row of real data is {real['count']} images of the {real['split']} split against the same reference."
    )
    return (
        f"{metric(result, 'fid')} is the Frechet distance between {result['settings']['count']} samples and the "
        "reference images; ± is one standard error over samples, from the influence of each. Lower is better. Bold is "
        "the lowest and whatever lies above it by no more than two standard errors of the paired difference, which the "
        f"same noise makes sharper than the errors. {floor} Distances at another count or with other features do not "
        "compare with these."
    )


def _anchor(name: str) -> str:
    return name.lower().replace(" ", "-")
