"""Files in memory: for what goes to a process and what comes from it, without a reader that must keep up."""

from __future__ import annotations

import os
from typing import IO


def memory_file(content: bytes = b"") -> IO[bytes]:
    """An unnamed file in memory, at its start."""
    file = os.fdopen(os.memfd_create("netemu", os.MFD_CLOEXEC), "w+b", buffering=0)
    try:
        file.write(content)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


def text_of(file: IO[bytes]) -> str:
    """All that is in a file."""
    file.seek(0)
    return file.read().decode(errors="replace")
