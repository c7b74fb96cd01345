"""How many broken files are asked for, and the seed of their breaking; see ``test_readers.py``."""

from __future__ import annotations

import os

__all__ = ["ASKED", "SEED"]

ASKED = int(os.environ.get("DIFFCOV_FUZZ", "0"))
SEED = int(os.environ.get("DIFFCOV_FUZZ_SEED", "14"))
