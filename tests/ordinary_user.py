"""Another user of this machine, for tests of what works without root: real, without a name, with a folder of its own.

The checkout and Python's environment are shown to it under /run, which in tests is their own: wherever they are, that
user may read them there.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

from netemu.kernel.spaces.userspace import outside_user

UIDS = range(61234, 61334)
"""Numbers that no usual machine gives to anybody (uids-gids in systemd's documentation)."""
ROOT = Path(__file__).parent.parent
CHECKOUT, ENVIRONMENT = Path("/run/checkout"), Path("/run/environment")
PYTHON = ENVIRONMENT / "bin" / "python"


@cache
def own_uid() -> tuple[int, socket.socket]:
    """A number for this run alone: two runs side by side would take each other's processes for what is left.

    A socket's abstract name is taken by one process, and goes with it (unix(7)).
    """
    for uid in UIDS:
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            claim.bind(f"\0netemu-tests-{uid}")
        except OSError:
            claim.close()
            continue
        if not _has_processes(uid):
            return uid, claim
        claim.close()
    raise RuntimeError(f"all users from {UIDS[0]} to {UIDS[-1]} are taken")


def _has_processes(uid: int) -> bool:
    """Whether a process is a user's, as one that a run which was killed left behind."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if process.stat().st_uid == uid:
                return True
    return False


@dataclass
class OrdinaryUser:
    """`run` runs something as that user, whose private folder is `folder`."""

    uid: int = field(default_factory=lambda: own_uid()[0])
    folder: Path = Path("/run/ordinary")
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(CHECKOUT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "XDG_RUNTIME_DIR": str(self.folder),
        }
        self.folder.mkdir(mode=0o700)
        os.chown(self.folder, self.uid, self.uid)

    def run(self, *command: str, **more) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            user=self.uid,
            group=self.uid,
            extra_groups=[],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
            **more,
        )

    def netemu(self, *arguments: str, **more) -> subprocess.CompletedProcess[str]:
        return self.run(str(PYTHON), "-m", "netemu", *arguments, **more)

    def python(self, program: str, *arguments: str, **more) -> subprocess.CompletedProcess[str]:
        return self.run(str(PYTHON), "-c", program, *arguments, **more)

    @property
    def state(self) -> list[str]:
        """What netemu keeps in this user's folder."""
        place = self.folder / "netemu"
        return sorted(entry.name for entry in place.iterdir() if entry.name != ".lock") if place.is_dir() else []

    def processes(self) -> list[str]:
        """The user's processes, by their command."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if process.stat().st_uid == self.uid:
                    command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    found += [command] if command else []  # one that has ended has none: who started it collects it
            except OSError:
                continue
        return found


def show_environment() -> None:
    """Make the checkout and Python's environment readable to everybody, under /run."""
    for source, target in ((ROOT, CHECKOUT), (Path(sys.prefix), ENVIRONMENT)):
        if not target.exists():
            target.mkdir()
            subprocess.run(["mount", "--bind", str(source), str(target)], check=True)


@pytest.fixture
def user():
    """An ordinary user without any processes or labs, before and after."""
    if os.geteuid() != 0 or outside_user() != 0:
        pytest.skip("only root can become another user: run scripts/test with sudo")
    show_environment()
    made = OrdinaryUser()
    try:
        if made.run(str(PYTHON), "-c", "import netemu, click").returncode:
            pytest.skip("another user can't run this Python: install it where everybody may read it, as CI does")
        assert made.processes() == []
        yield made
        assert made.processes() == [], made.processes()
        assert made.state == []
    finally:
        shutil.rmtree(made.folder)
