"""Everything that labs may need of this machine: what the kernel room tries, and a private folder for their state."""

from __future__ import annotations

from netemu.errors import PrivilegeError
from netemu.kernel.machine import doctor
from netemu.kernel.machine.doctor import Feature
from netemu.lab.folder import base, passed_over, require_private

_STATE = "private folder"


def probe() -> list[Feature]:
    """Try everything that labs may need. Makes nothing but scratch namespaces, which go at once, and ~/.local/state.

    Without root this process is in a user namespace of its own afterwards (`enter_user_namespace`).
    """
    return [*doctor.probe(), _state_folder()]


def _state_folder() -> Feature:
    """Where labs keep their state; where the user has no place for it, what makes one."""
    try:
        path = base()
        if path.exists():
            require_private(path)
    except PrivilegeError as error:
        detail, _, remedy = str(error).partition(": ")
        return Feature(_STATE, there=False, needed=True, detail=detail, remedy=remedy)
    why = passed_over()
    return Feature(_STATE, there=True, needed=True, detail=f"labs are kept in {path}{f' ({why})' if why else ''}")
