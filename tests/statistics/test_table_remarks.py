"""What a table says of itself in words."""

from __future__ import annotations

import torch

from diffcov.statistics.table_remarks import on_stderr

KNOWN = torch.tensor([0.02, 0.01, torch.nan, 0.06], dtype=torch.float64)
UNKNOWN = torch.full((4,), torch.nan, dtype=torch.float64)


def test_single_times() -> None:
    assert on_stderr(KNOWN, 25, None) == "25 images at 4 times; median standard error of a variance 2.0%"
    said = "1 images at 4 times; median standard error of a variance unknown from one image"
    assert on_stderr(UNKNOWN, 1, None) == said


def test_curves() -> None:
    assert on_stderr(KNOWN, 400, 12) == (
        "400 images at 12 knots; standard error of the squared error at all 4 times 2.0% (median), 6.0% (worst)"
    )
    assert on_stderr(UNKNOWN, 1, 1).endswith("at all 4 times unknown from one image (median), unknown")
