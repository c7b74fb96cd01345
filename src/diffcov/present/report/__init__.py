"""``report.html``: what ``diffcov compare`` found, in one file that needs nothing else."""

from diffcov.present.report.html import page

__all__ = ["page"]
