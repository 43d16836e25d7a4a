"""Capture files of several sides of a NAT, read and joined. Needs no privilege and no kernel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from netemu.errors import UsageError
from netemu.record.files.pcapng import CaptureFormatError
from netemu.record.sides.captured import Captured, read_captured
from netemu.record.sides.joined import join_sides
from netemu.record.sides.side import read_sides
from netemu.record.sides.walks import Sides

_MOST = 63
"""A side is a bit of a number."""


def join_files(files: str | Path | Sequence[str | Path]) -> Sides:
    """Join captures (pcap or pcapng) of two or more sides of a NAT, the client's side first.

    Each file is a side, named as the file without its ending; a file of several interfaces is a side for each,
    `home:eth0`, and may be the only one. Raises UsageError for a file that can't be read, is no capture or is given
    twice, and for fewer than two sides.
    """
    paths = [Path(file) for file in ([files] if isinstance(files, str | Path) else files)]
    _require_different(paths)
    captures = [_read(path) for path in paths]
    sides = read_sides(list(zip(_names(paths), captures, strict=True)))
    if len(sides) < 2:
        raise UsageError(f"{paths[0] if paths else 'nothing'} is one side alone: give a capture of each side")
    if len(sides) > _MOST:
        raise UsageError(f"these files have {len(sides)} sides; at most {_MOST} are joined at once")
    if not any(len(side) for side in sides):
        raise UsageError(f"there is no IP packet in {', '.join(str(path) for path in paths)}")
    notes = [list(capture.notes) for capture in captures]
    for side in sides:
        if side.left_out:
            notes[side.file].append(f"{side.name} saw {side.left_out} packets that are no whole IP: left out")
    return Sides(join_sides(sides), [str(path) for path in paths], notes)


def _require_different(paths: Sequence[Path]) -> None:
    """One file is not two sides: it would be joined to itself, packet by packet."""
    for place, path in enumerate(paths):
        for other in paths[:place]:
            if path.exists() and other.exists() and path.samefile(other):
                raise UsageError(f"{path} is given twice" if path == other else f"{path} is {other} once more")


def _read(path: Path) -> Captured:
    try:
        with path.open("rb") as file:
            data = np.frombuffer(bytearray(file.read()), np.uint8)
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror or error}") from error
    try:
        return read_captured(data)
    except CaptureFormatError as error:
        raise UsageError(f"{path} {error}") from error


def _names(paths: Sequence[Path]) -> list[str]:
    """Each file's name without its ending; of files of one name, all but the first are numbered."""
    seen: Counter[str] = Counter()
    found = []
    for path in paths:
        seen[path.stem] += 1
        found.append(path.stem if seen[path.stem] == 1 else f"{path.stem}#{seen[path.stem]}")
    return found
