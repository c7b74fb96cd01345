"""``diffcov demo``: everything on the embedded digits, ending in one report of all covariances and samplers."""

from __future__ import annotations

from diffcov.cli.compare import show_comparison
from diffcov.cli.console import Console
from diffcov.cli.options import command
from diffcov.study.requests.demo import DemoRequest


@command(DemoRequest)
def demo(request: DemoRequest, console: Console, as_json: bool) -> None:
    """Run everything on the embedded digits: train, measure, fit, tune, and compare all covariances and samplers."""
    from diffcov.study.demo import demo

    show_comparison(demo(request, console), console, as_json)
