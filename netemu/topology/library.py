"""The topologies that come with netemu, by name.

A bare name is only ever looked up among these, never in the current folder: netemu runs as root, and a folder
that others can write to must not decide what a name means. A file is given by its path.
"""

from __future__ import annotations

from pathlib import Path

from netemu.errors import UsageError

_PACKAGE = Path(__file__).resolve().parent.parent
_FOLDERS = (_PACKAGE / "topologies", _PACKAGE.parent / "topologies")
"""In an installed package, and in a checkout."""


def shipped() -> list[str]:
    """The shipped topologies' names, sorted."""
    return sorted({file.stem for folder in _FOLDERS for file in folder.glob("*.yaml")})


def find(lab: str) -> Path:
    """The file meant by `lab`: a path (it has a slash, or ends in .yaml or .yml), or a shipped topology's name."""
    if "/" in lab or lab.endswith((".yaml", ".yml")):
        path = Path(lab)
        if not path.is_file():
            raise UsageError(f"no topology file {lab}")
        return path
    for folder in _FOLDERS:
        if (folder / f"{lab}.yaml").is_file():
            return folder / f"{lab}.yaml"
    known = f"netemu comes with: {', '.join(shipped())}; a file is given by its path, as in ./{lab}.yaml"
    raise UsageError(f"no lab named '{lab}'\n{known}")
