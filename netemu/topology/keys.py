"""How the place of a key in a topology is written."""

from __future__ import annotations


def key_text(path: tuple[str | int, ...]) -> str:
    """`hosts.A.addresses[0]` for a path of keys and indices."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text
