"""Wiping: what a lab leaves when its holder and its process 1 were both killed, and nothing but that."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from netemu import Lab, Leftover, wipe
from netemu.lab import asking, leftovers
from netemu.lab.asking import ask
from netemu.lab.folder import BASE, NETNS, Holder, LabFolder, holder, names_up
from netemu.lab.leftovers import wipe_name
from netemu.topology.load import loads

TWO = "name: two\nhosts: {A: {}, B: {}}\n"
HOLDER = f"""
import asyncio, os, signal
from netemu import Lab
from netemu.topology.load import loads
async def hold():
    async with Lab(loads({TWO!r})[0], named=True) as lab:
        os.kill(lab.pids.process.pid, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(hold())
"""


def killed_lab() -> Path:
    """What a lab leaves that was killed together with its process 1: its folder."""
    done = subprocess.run([sys.executable, "-c", HOLDER], check=False)
    assert done.returncode == -signal.SIGKILL
    return (BASE / "two").resolve()


@pytest.fixture(autouse=True)
def nothing_is_left():
    BASE.mkdir(mode=0o700, exist_ok=True)
    NETNS.mkdir(exist_ok=True)
    yield
    assert sorted(entry.name for entry in BASE.iterdir() if entry.name != ".lock") == []
    assert list(NETNS.iterdir()) == []


def test_a_lab_that_was_killed_whole_is_wiped_by_its_own_list():
    folder = killed_lab()
    assert names_up() == []
    expected = {
        Leftover("netns", str(NETNS / "two-A")),
        Leftover("netns", str(NETNS / "two-B")),
        Leftover("folder", str(folder)),
        Leftover("name", str(BASE / "two")),
    }
    assert set(wipe(dry_run=True)) == expected
    assert folder.is_dir(), "a dry run only tells"
    assert set(wipe()) == expected
    assert wipe() == []


async def test_the_next_lab_of_a_killed_labs_name_comes_up_and_takes_its_names_over():
    folder = killed_lab()
    async with Lab(loads(TWO)[0], named=True) as lab:
        assert not folder.exists()
        assert os.readlink(NETNS / "two-A") == f"/proc/{os.getpid()}/fd/{lab['A'].net.fd}"


async def test_down_takes_a_labs_names_back_though_somebody_killed_its_process_1():
    async with Lab(loads(TWO)[0], named=True) as lab:
        (NETNS / "two-B").unlink()
        (NETNS / "two-B").symlink_to("/elsewhere")
        os.kill(lab.pids.process.pid, signal.SIGKILL)
    assert [link.name for link in NETNS.iterdir()] == ["two-B"], "it leads elsewhere, and is somebody else's"
    (NETNS / "two-B").unlink()
    assert wipe() == []


async def test_a_lab_that_is_up_is_left_alone():
    async with Lab(loads(TWO)[0], named=True) as lab:
        assert wipe() == []
        wipe_name("two")
        assert names_up() == ["two"]
        assert lab.folder is not None
        assert lab.folder.path.is_dir()
        assert (NETNS / "two-A").is_symlink()


def test_a_name_that_has_become_another_ones_is_left_alone():
    folder = killed_lab()
    for name, target in (("two-A", "/proc/1/ns/net"), ("two-B", None)):
        (NETNS / name).unlink()
        if target is not None:
            (NETNS / name).symlink_to(target)
    (NETNS / "two-B").touch()
    assert {left.kind for left in wipe()} == {"folder", "name"}
    assert not folder.exists()
    assert (NETNS / "two-A").is_symlink()
    for name in ("two-A", "two-B"):
        (NETNS / name).unlink()


@pytest.mark.parametrize("noted", ["/etc/hostname", "/run/netns/../passwd", "../x", "", 3, None])
def test_a_list_that_names_what_no_lab_makes_removes_nothing(tmp_path, noted):
    folder = killed_lab()
    (folder / "names").write_text(json.dumps({"link": noted, "target": "x"}) + "\n")
    wipe()
    assert Path("/etc/hostname").exists()
    for name in ("two-A", "two-B"):
        (NETNS / name).unlink()


def test_a_folder_that_was_left_before_it_had_its_lock_is_wiped_if_it_is_empty_and_old(monkeypatch):
    empty, full = BASE / ".lab-abcdefgh", BASE / ".lab-ijklmnop"
    for folder in (empty, full):
        folder.mkdir(mode=0o700)
    (full / "somebody's").touch()
    assert wipe() == [], "they may be of labs that are being made"
    monkeypatch.setattr(leftovers, "LOCKED_WITHIN", 0.0)
    held = os.open(empty, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(held, fcntl.LOCK_SH)
    assert wipe() == [], "somebody holds it"
    os.close(held)
    assert wipe() == [Leftover("folder", str(empty))]
    (full / "somebody's").unlink()
    full.rmdir()


def test_labs_that_come_up_while_others_wipe_are_left_alone():
    """Wiping runs over and over, here and for real, from before each lab has its folder until it is up."""
    stop = threading.Event()
    found: list[Leftover] = []

    def wipe_on() -> None:
        while not stop.is_set():
            found.extend(wipe())

    wiping = threading.Thread(target=wipe_on)
    wiping.start()
    try:
        for _ in range(5):
            asyncio.run(comes_up_whole())
        for _ in range(200):
            folder = LabFolder(SimpleNamespace(remove_after=lambda **_: None))
            assert (folder.path / "alive").exists()
            folder.close()
    finally:
        stop.set()
        wiping.join()
    assert found == []


async def comes_up_whole() -> None:
    async with Lab(loads(TWO)[0], named=True) as lab:
        assert names_up() == ["two"]
        assert lab.folder is not None
        assert (BASE / "two").resolve() == lab.folder.path


ODD = {
    "another name": lambda path: path.rename(BASE / ".lab-short"),
    "an open mode": lambda path: path.chmod(0o755),
    "another owner": lambda path: os.chown(path, 4321, 4321),
    "a link for a lock": lambda path: ((path / "alive").unlink(), (path / "alive").symlink_to("/etc/hostname")),
}


@pytest.mark.parametrize("odd", ODD)
def test_what_is_not_provably_a_dead_lab_of_ours_stays(odd):
    folder = BASE / ".lab-abcdefgh"
    folder.mkdir(mode=0o700)
    (folder / "alive").touch()
    ODD[odd](folder)
    assert wipe() == []
    (there,) = (entry for entry in BASE.iterdir() if entry.name.startswith(".lab-"))
    (there / "alive").unlink()
    there.rmdir()


def test_a_folder_with_something_mounted_in_it_stays():
    folder = BASE / ".lab-abcdefgh"
    (folder / "in").mkdir(parents=True)
    folder.chmod(0o700)
    (folder / "alive").touch()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(folder / "in")], check=True)
    try:
        assert wipe() == []
    finally:
        subprocess.run(["umount", str(folder / "in")], check=True)
    assert wipe() == [Leftover("folder", str(folder))]


def test_a_lab_on_its_way_up_is_left_alone():
    folder = LabFolder(SimpleNamespace(remove_after=lambda **_: None))
    assert wipe() == []
    folder.close()


def test_a_locked_folder_stays_whoever_holds_the_lock():
    folder = BASE / ".lab-abcdefgh"
    folder.mkdir(mode=0o700)
    with (folder / "alive").open("w") as alive:
        fcntl.flock(alive, fcntl.LOCK_SH)
        assert wipe() == []
    assert wipe() == [Leftover("folder", str(folder))]


def test_a_name_that_leads_to_a_folder_that_is_gone_goes_and_other_links_stay():
    (BASE / "gone").symlink_to(BASE / ".lab-abcdefgh")
    (BASE / "other").symlink_to("/etc")
    assert wipe() == [Leftover("name", str(BASE / "gone"))]
    (BASE / "other").unlink()


def test_a_holder_is_whoever_has_the_file_open_and_not_who_has_its_number_by_now():
    """A number that is written down may be another process's by the time that it is read."""
    folder = LabFolder(SimpleNamespace(remove_after=lambda **_: None))
    folder.claim("held")
    try:
        mine = holder("held")
        assert mine is not None
        os.close(mine.pidfd)
        with subprocess.Popen(["sleep", "99"]) as other:
            (folder.path / "alive").write_text(f"{other.pid} up")
            found = holder("held")
            other.kill()
        assert found is None
    finally:
        folder.close()


def test_who_takes_a_lab_down_that_goes_just_then_takes_its_holder_for_what_it_was(monkeypatch):
    """Of two that take one down at once, one finds the holder, and then nothing that tells of it any more."""
    folder = LabFolder(SimpleNamespace(remove_after=lambda **_: None))
    folder.claim("going")
    with (folder.path / "alive").open() as alive, subprocess.Popen(["sleep", "99"], stdin=alive) as command:
        (folder.path / "alive").write_text(f"{command.pid} up")

        def found_and_gone(name: str) -> Holder | None:
            found = holder(name)
            folder.close()
            return found

        monkeypatch.setattr(asking, "holder", found_and_gone)
        try:
            assert ask("going", {"do": "down"}) == ({}, [])
        finally:
            command.kill()
    assert command.returncode == -signal.SIGTERM
