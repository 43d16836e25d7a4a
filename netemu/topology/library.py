"""The topologies that come with netemu, by name.

A bare name is only ever looked up among these, never in the current folder: netemu runs as root, and a folder
that others can write to must not decide what a name means. A file is given by its path.
"""

from __future__ import annotations

import stat
from pathlib import Path

from netemu.errors import UsageError
from netemu.topology.naming import near

_PACKAGE = Path(__file__).resolve().parent.parent
_FOLDERS = (_PACKAGE / "topologies", _PACKAGE.parent / "topologies")
"""In an installed package, and in a checkout."""
_HERE_AND_ABOVE = (".", "..")


def shipped() -> list[str]:
    """The shipped topologies' names, sorted."""
    return sorted({file.stem for folder in _FOLDERS for file in folder.glob("*.yaml")})


def find(lab: str) -> Path:
    """The file meant by `lab`: a path (it has a slash, or ends in .yaml or .yml), or a shipped topology's name."""
    if "/" in lab or lab.endswith((".yaml", ".yml")) or lab in _HERE_AND_ABOVE:
        return _file(lab)
    for folder in _FOLDERS:
        if (folder / f"{lab}.yaml").is_file():
            return folder / f"{lab}.yaml"
    known = f"netemu comes with: {', '.join(shipped())}; a file is given by its path, as in ./{lab}.yaml"
    raise UsageError(f"no lab named '{lab}'{near(lab, shipped())}\n{known}")


def _file(lab: str) -> Path:
    """The plain file at a path; UsageError that says what is there instead."""
    path = Path(lab)
    try:
        mode = path.stat().st_mode
        inside = sorted(path.glob("*.y*ml")) if stat.S_ISDIR(mode) else []
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise UsageError(f"no topology file {lab}") from error
    except OSError as error:
        raise UsageError(f"{lab} can't be read: {error.strerror}") from error
    if stat.S_ISDIR(mode):
        raise UsageError(f"{lab} is a folder: give a topology file, as in {inside[0] if inside else './mine.yaml'}")
    if not stat.S_ISREG(mode):
        raise UsageError(f"{lab} is no plain file")
    return path
