"""Words that an option takes in the place of a name or a number."""

from __future__ import annotations

__all__ = ["ALL", "AUTO", "NONE", "OFF"]

AUTO = "auto"
"""Whatever is best for what the run holds."""
ALL = "all"
"""Every one that there is."""
NONE = "none"
"""Not even what is taken unasked."""
OFF = "off"
"""Without it."""
