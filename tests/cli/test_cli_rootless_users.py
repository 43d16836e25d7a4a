"""Other users in an ordinary user's labs: by subordinate ids, which newuidmap maps; else refused before anything is."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

LAB = """
name: users
hosts:
  A:
    user: nobody
    services:
      web: {command: [sh, -c, "id -un; exec sleep 1000"], ready: {log: nobody}}
      other: {command: [sh, -c, "id -u; exec sleep 1000"], ready: {log: "12"}, user: 12}
      own: {command: [sleep, "1000"], user: root}
"""


@contextmanager
def as_ann(user, subuid: str, subgid: str):
    """In the tests' own mount namespace, that user has a name, and these subordinate ids."""
    texts = {
        "passwd": Path("/etc/passwd").read_text() + f"ann:x:{user.uid}:{user.uid}::/:/bin/sh\n",
        "subuid": subuid,
        "subgid": subgid,
    }
    folder = Path("/run/ann")
    folder.mkdir()
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        for name, text in texts.items():
            target = Path("/etc", name)
            if not target.exists():
                pytest.skip(f"there is no {target} here to cover")
            (folder / name).write_text(text)
            subprocess.run(["mount", "--bind", str(folder / name), str(target)], check=True)
            stack.callback(subprocess.run, ["umount", str(target)], check=True)
        yield


@pytest.fixture
def lab(user) -> str:
    file = user.folder / "users.yaml"
    file.write_text(LAB)
    return str(file)


def feature(user, name: str) -> dict:
    told = json.loads(user.netemu("doctor", "--json").stdout)["features"]
    return {each["name"]: each for each in told}[name]


needs_newuidmap = pytest.mark.skipif(
    not (shutil.which("newuidmap") and shutil.which("newgidmap")), reason="newuidmap is not installed: package uidmap"
)


@needs_newuidmap
def test_services_run_as_other_users_where_the_user_has_subordinate_ids(user, lab):
    with as_ann(user, "ann:200000:65536\n", f"{user.uid}:300000:65536\n"):
        assert feature(user, "other users")["detail"] == "services may run as 65536 users besides root"
        done = user.netemu("up", lab)
        assert done.returncode == 0, done.stderr
        told = user.netemu("exec", "users", "A", "--", "ps", "-eo", "uid=,args=").stdout
        assert {line.split()[0] for line in told.splitlines() if "sleep" in line} == {"65534", "12", "0"}
        down = user.netemu("down", "users")
        assert down.returncode == 0, down.stderr


@needs_newuidmap
def test_what_services_of_other_users_left_is_wiped(user, lab):
    """Holder and process 1 killed at once leave folders that only those users may look into."""
    with as_ann(user, "ann:200000:65536\n", "ann:200000:65536\n"):
        assert user.netemu("up", lab).returncode == 0
        (held,) = json.loads(user.netemu("ls", "--json").stdout)
        init = Path(f"/proc/{held['pid']}/task/{held['pid']}/children").read_text().split()[0]
        gone = [os.pidfd_open(held["pid"]), os.pidfd_open(int(init))]
        os.kill(int(init), signal.SIGSTOP)
        for pid in (held["pid"], int(init)):
            os.kill(pid, signal.SIGKILL)
        for fd in gone:
            assert select.select([fd], [], [], 20)[0]
            os.close(fd)
        done = user.netemu("wipe")
        assert (done.returncode, done.stdout.count("removed")) == (0, 2), done.stderr
        assert user.state == []


@needs_newuidmap
@pytest.mark.parametrize("command", ["run", "up"])
def test_without_subordinate_ids_other_users_are_refused_before_anything_is_built(user, lab, command):
    with as_ann(user, "bob:100000:65536\n", ""):
        done = user.netemu(command, lab)
    assert done.returncode == 4, done.stderr
    *faults, why = done.stderr.splitlines()
    assert faults == [
        f"netemu: {lab}:5: hosts.A.user: user nobody has user number 65534, which is not there without root",
        f"{lab}:8: hosts.A.services.other.user: user 12 is not there without root",
    ]
    assert why.endswith(
        "only by subordinate ids, and /etc/subuid and /etc/subgid give ann no ids: "
        "sudo usermod --add-subuids 165536-231071 --add-subgids 165536-231071 ann"
    )
    assert not (user.folder / "netemu").exists(), "something was made first"


@needs_newuidmap
def test_a_range_too_short_for_a_user_is_told(user, lab):
    with as_ann(user, "ann:200000:100\n", "ann:200000:100\n"):
        done = user.netemu("run", lab)
    assert done.returncode == 4
    assert "user nobody has user number 65534" in done.stderr
    assert "user 12" not in done.stderr


def test_a_user_without_a_name_is_told_that_nothing_maps_it(user, lab):
    done = user.netemu("run", lab)
    assert done.returncode == 4
    assert (
        f"newuidmap maps nothing for user {user.uid}, who has no name in /etc/passwd: run it with sudo" in done.stderr
    )
    told = feature(user, "other users")
    assert (told["there"], told["needed"], told["remedy"]) == (False, False, "run it with sudo")


def test_the_hosts_own_passwd_says_which_number_a_user_has(user):
    file = user.folder / "own.yaml"
    passwd = "root:x:0:0::/:/bin/sh\\nweb:x:0:0::/:/bin/sh\\nfar:x:77:0::/:/bin/sh\\n"
    service = '{command: ["true"], user: WHO}'
    text = f'name: own\nhosts: {{A: {{files: {{/etc/passwd: "{passwd}"}}, services: {{s: {service}}}}}}}'
    file.write_text(text.replace("WHO", "web"))
    assert user.netemu("run", str(file)).returncode == 0
    file.write_text(text.replace("WHO", "far"))
    done = user.netemu("run", str(file))
    assert (done.returncode, "user far has user number 77" in done.stderr) == (4, True)


def test_a_command_as_a_user_that_is_not_there_is_told_so(user):
    program = """
import asyncio
from netemu import Lab, MachineError, Topology
async def main():
    async with Lab(Topology.model_validate({"name": "x", "hosts": {"A": {}}})) as lab:
        try: await lab["A"].run("id", user="nobody")
        except MachineError as error: print(error.exit_code, error)
asyncio.run(main())
"""
    done = user.python(program)
    assert done.stdout.startswith("4 host A: user nobody is not there without root: labs without root"), done.stderr
