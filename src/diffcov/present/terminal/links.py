"""What ``inspect --verify`` found, a line a link."""

from __future__ import annotations

from diffcov.store.paths import shown
from diffcov.study.chain import Chain

__all__ = ["link_lines"]


def link_lines(chain: Chain) -> str:
    """How each link was found, its name and what was said of it, and a last line for all of them."""
    lines = [shown(f"{one.state.value:<8} {one.name}: {one.said}") for one in chain.links]
    count, broken = len(chain.links), len(chain.broken)
    unknown = sum(1 for one in chain.links if one.state.value == "unknown")
    beside = f", {unknown} could not be compared" if unknown else ""
    last = f"broken: {broken} of {count} links" if broken else f"whole: {count - unknown} links hold"
    return "\n".join([*lines, last + beside])
