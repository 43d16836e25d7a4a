"""How a topology may be given, wherever one is asked for: by itself, a mapping, a file, or its name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from netemu.topology.library import find
from netemu.topology.load import Source, load
from netemu.topology.model import Topology

Given = Topology | Mapping[str, Any] | str | Path


def given(lab: Given) -> tuple[Topology, Source]:
    """The topology that is meant, with what messages of it need; a text is a file's path or a name, as `find` has it.

    Raises UsageError where a text names none, TopologyError where a `Path` can't be read or something in it is wrong.
    """
    if isinstance(lab, Topology):
        return lab, Source()  # verified by whatever made it (topology.load.enter)
    return load(find(lab) if isinstance(lab, str) else lab)
