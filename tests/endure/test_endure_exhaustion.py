"""Out of descriptors, processes, namespaces, memory or disk half-way up: what was made goes, the limit is named."""

from __future__ import annotations

import subprocess
import sys

import leftovers
import pytest
from ordinary_user import PYTHON
from spread import spread

NETEMU = [sys.executable, "-m", "netemu"]
IN_USER_NAMESPACE = ["unshare", "--user", "--map-root-user", "--net", "--mount", "--propagation", "private"]
A_RUN_OF_ITS_OWN = "mount -t tmpfs -o mode=755,size={size},nr_inodes={inodes} tmpfs /run"


def lived(command: list[str], what: str, names: tuple[str, ...]) -> bool:
    """Run a command that may run out of something; whether it came through. It names the limit if it did not.

    The topology's own services may run out too: then the report says what did not come of it.
    """
    before = leftovers.belongings()
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert leftovers.left(before) == {}, what
    assert "Traceback" not in done.stderr, f"{what}: {done.stderr}"
    if " checks: " in done.stdout:
        assert done.returncode in (0, 1, 3), f"{what}: {done.stderr}"
    elif done.returncode:
        assert done.returncode == 4, f"{what}: {done.stderr}"
        assert any(name in done.stderr for name in names), f"{what}: {done.stderr}"
    return done.returncode == 0


def test_out_of_descriptors(rounds):
    """From so few that Python just starts up to more than enough."""
    limits = spread(120, rounds(6, 60))
    came_through = [
        lived(
            ["prlimit", f"--nofile={20 + limit}", *NETEMU, "run", "nodeport"],
            f"{20 + limit} descriptors",
            ("ulimit -",),
        )
        for limit in limits
    ]
    assert not came_through[0]


@pytest.mark.parametrize("kind", ["net", "pid", "mnt", "uts"])
def test_out_of_namespaces(kind, rounds):
    for limit in spread(6, rounds(2, 6)):
        setting = f"echo {limit - 1} >/proc/sys/user/max_{kind}_namespaces"
        script = f'{A_RUN_OF_ITS_OWN.format(size="16m", inodes=0)} && {setting} && exec "$@"'
        command = [*IN_USER_NAMESPACE, "sh", "-c", script, "sh", *NETEMU, "run", "nodeport"]
        lived(command, f"{limit - 1} {kind} namespaces", (f"user.max_{kind}_namespaces",))


@pytest.mark.parametrize("what", ["size", "inodes"])
def test_out_of_disk(what, rounds):
    for limit in spread(24, rounds(4, 24)):
        room = {"size": f"{limit * 4}k", "inodes": 0} if what == "size" else {"size": "16m", "inodes": limit}
        script = f'{A_RUN_OF_ITS_OWN.format(**room)} && exec "$@"'
        command = [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            script,
            "sh",
            *NETEMU,
            "run",
            "nodeport",
        ]
        lived(command, f"{limit} of {what}", ("No space left on device", "no space left"))


def test_out_of_memory(rounds):
    for limit in spread(400, rounds(4, 40)):
        command = ["prlimit", f"--as={(100 + limit) << 20}", *NETEMU, "run", "nodeport"]
        lived(command, f"{100 + limit} MiB of address space", ("out of memory",))


def test_out_of_processes(user, rounds):
    """As an ordinary user, whom such a limit holds."""
    for limit in spread(14, rounds(4, 14)):
        done = user.run("prlimit", f"--nproc={limit}", str(PYTHON), "-m", "netemu", "run", "nodeport")
        assert "Traceback" not in done.stderr, f"{limit} processes: {done.stderr}"
        if " checks: " in done.stdout:
            assert done.returncode in (0, 1, 3), f"{limit} processes: {done.stderr}"
        elif done.returncode:
            assert (done.returncode, "ulimit -u" in done.stderr) == (4, True), f"{limit} processes: {done.stderr}"
