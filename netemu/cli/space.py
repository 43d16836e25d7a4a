"""How much address space a command may have, asked before it imports what comes with a record."""

from __future__ import annotations

import resource

from netemu import MachineError

_SPACE = 160 << 20
"""Bytes of address space that Python takes with all that a record needs, beside what a lab takes."""


def require_address_space() -> None:
    """Raise MachineError where a limit leaves too little for what comes with a record.

    Near its end libraries of others crash, or try for ever, and Python can no longer say anything.
    """
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most != resource.RLIM_INFINITY and most < _SPACE:
        raise MachineError(
            f"out of memory: that takes at least {_SPACE >> 20} MiB of address space, and more for each host, and the"
            f" limit is {most >> 20}: raise it (ulimit -v)"
        )
