"""The user namespace of ordinary users, and their subordinate ids; from root's side."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from netemu.kernel.spaces.subordinate import Mapper, subordinate_ids
from netemu.kernel.spaces.userspace import enter_user_namespace, join_user_namespace, ordinary_users_may, outside_user


def test_root_stays_what_and_where_it_is():
    before = [os.readlink(f"/proc/self/ns/{kind}") for kind in ("user", "net")]
    assert enter_user_namespace() is False
    assert [os.readlink(f"/proc/self/ns/{kind}") for kind in ("user", "net")] == before


def test_a_user_namespace_knows_who_its_root_is_outside(user):
    told = "from netemu.kernel.spaces.userspace import *; enter_user_namespace(); print(outside_user(), os.geteuid())"
    assert user.python(told).stdout.split() == [str(user.uid), "0"]
    assert outside_user() == 0


def test_joining_the_namespace_that_one_is_in_changes_nothing():
    fd = os.open("/proc/self/ns/user", os.O_RDONLY)
    join_user_namespace(fd)
    os.close(fd)
    assert os.geteuid() == 0


def test_root_can_tell_whether_ordinary_users_may_have_labs():
    assert ordinary_users_may() == "ordinary users may make them"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ann:100000:65536\n", (100000, 65536)),
        ("bob:1:2\n1000:200000:10\n", (200000, 10)),
        ("bob:1:2\n", None),
        ("ann:x:10\nann:\n\n", None),
    ],
)
def test_subordinate_ids_are_found_by_name_or_number(tmp_path, text, expected):
    (tmp_path / "subuid").write_text(text)
    assert subordinate_ids(tmp_path / "subuid", {"ann", "1000"}) == expected


def test_without_a_file_nobody_has_subordinate_ids(tmp_path):
    assert subordinate_ids(tmp_path / "subuid", {"ann"}) is None


def test_the_mapper_runs_the_programs_from_outside_when_it_is_told(tmp_path, monkeypatch):
    """The programs are setuid root, and their files the machine's: both are played."""
    for name in ("newuidmap", "newgidmap"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@" >>{tmp_path}/calls\n')
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name, path=None: str(tmp_path / name))
    monkeypatch.setattr("netemu.kernel.spaces.subordinate.subordinate_ids", lambda file, names: (100000, 65536))
    monkeypatch.setattr("netemu.kernel.spaces.subordinate.pwd.getpwuid", lambda uid: SimpleNamespace(pw_name="ann"))
    with Mapper(1000, 1001) as mapper:
        assert not (tmp_path / "calls").exists()
        mapper.map()
        assert (tmp_path / "calls").read_text().splitlines() == [
            f"newgidmap {os.getpid()} 0 1001 1 1 100000 65536",
            f"newuidmap {os.getpid()} 0 1000 1 1 100000 65536",
        ]
    (tmp_path / "calls").unlink()
    with Mapper(1000, 1001):
        pass
    assert not Path(tmp_path / "calls").exists(), "nobody told it to"
