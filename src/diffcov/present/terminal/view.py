"""What samples saw the mean through, in a title."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["guidance_note", "view_note"]


def guidance_note(view: Mapping[str, Any]) -> str:
    """What a title adds where the mean was guided; nothing for 1."""
    return "" if view["guidance"] == 1 else f", guidance {view['guidance']:g}"


def view_note(view: Mapping[str, Any]) -> str:
    """What a title adds where samples saw the mean scaled or guided; nothing for 1.

    Args:
        view: with "eps_scale", a number or "fitted", and "guidance".
    """
    scaled = "" if view["eps_scale"] == 1 else f", eps-scale {view['eps_scale']}"
    return scaled + guidance_note(view)
