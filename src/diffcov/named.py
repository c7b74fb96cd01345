"""Objects by name, "package.module:attribute": imported when they are wanted, and not before."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["named"]


def named(name: str) -> Any:
    """The object of that name; ImportError or AttributeError where there is none."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)
