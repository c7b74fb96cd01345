"""``diffcov export``: a run's mean and one covariance out, as a pipeline of diffusers."""

from __future__ import annotations

from diffcov.cli.console import Console
from diffcov.cli.options import command
from diffcov.study.requests.export import ExportRequest


@command(ExportRequest)
def export(request: ExportRequest, console: Console, as_json: bool) -> None:
    """Write a folder that diffusers loads: the network, and a scheduler that steps with the measured covariance.

    It takes some seconds.

    Examples:

    - `diffcov export --out few-steps`: writes the best covariance that the run holds.
    - `diffcov export --out few-steps-2m --recipe dpmpp-2m --steps 10`: writes a sampler of the literature.
    """
    from diffcov.study.export import export_model

    exported = export_model(request, console)
    console.finish(exported.as_dict(), as_json, str(exported.folder))
