"""HTML elements as values: every string is escaped on the way in, every tag is closed on the way out."""

from __future__ import annotations

from html import escape

__all__ = ["Html", "drawing", "join", "tag"]

VOID = {"img", "meta"}


class Html(str):
    """Text that is markup already. Only this file makes it, so that nothing else can forget to escape."""

    __slots__ = ()


def tag(name: str, /, *children: str, **attributes: object) -> Html:
    """One element.

    Args:
        name: of the tag.
        children: markup as it is, plain text escaped.
        attributes: a trailing ``_`` is dropped (``class_``); None leaves an attribute out.
    """
    shown = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{shown}>") if name in VOID else Html(f"<{name}{shown}>{join(*children)}</{name}>")


def join(*children: str) -> Html:
    """Several pieces, one after the other."""
    return Html("".join(child if isinstance(child, Html) else escape(child, quote=False) for child in children))


def drawing(svg: str) -> Html:
    """An ``<svg>`` element or a style sheet of our own making, taken as it is."""
    return Html(svg)
