"""Another user of this machine, for tests of what works without root: real, without a name, with a folder of its own.

The checkout and Python's environment are shown to it under /run, which in tests is their own: wherever they are, that
user may read them there.
"""

from __future__ import annotations

import errno
import os
import pwd
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

UIDS = range(60578, 61184)
"""Numbers that no distribution gives to anybody (systemd's docs/UIDS-GIDS.md: unused)."""
ROOT = Path(__file__).parent.parent
CHECKOUT, ENVIRONMENT = Path("/run/checkout"), Path("/run/environment")
PYTHON = ENVIRONMENT / "bin" / "python"


@dataclass
class OrdinaryUser:
    """`run` runs something as that user, whose private folder is `folder`."""

    uid: int = field(default_factory=lambda: claimed_uid()[0])
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


@cache
def claimed_uid() -> tuple[int, socket.socket]:
    """A user's number that is this process's alone, and what holds the claim, as long as this process lives.

    Whoever runs tests on this machine at the same time has another one: the claim is an abstract unix socket's name
    (unix(7)), which only one can bind, and which goes with its process.
    """
    for uid in UIDS:
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            claim.bind(f"\0netemu-tests-user-{uid}")
        except OSError as error:
            claim.close()
            if error.errno != errno.EADDRINUSE:
                raise
            continue
        if not _is_somebodys(uid):
            return uid, claim
        claim.close()
    pytest.skip(f"all users {UIDS[0]} to {UIDS[-1]} are taken")


def _is_somebodys(uid: int) -> bool:
    """Whether a user has this number, or a process is one's who has it."""
    with suppress(KeyError):
        pwd.getpwuid(uid)
        return True
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if process.stat().st_uid == uid:
                return True
    return False


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
