"""What a kernel may lack, tried; and what brings it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from netemu.errors import NetemuError
from netemu.kernel import packages
from netemu.kernel.machine.doctor import probe
from netemu.kernel.machine.probes import PROBES, Probe, try_in_scratch


@pytest.mark.parametrize("name", [name for name, each in PROBES.items() if each.needed])
def test_what_every_lab_needs_is_there(name):
    assert try_in_scratch(PROBES[name].attempt)


@pytest.mark.parametrize("name", [name for name, each in PROBES.items() if not each.needed])
def test_what_some_labs_need_is_there_or_is_said_to_be_missing_in_words(name):
    said = ""
    try:
        said = try_in_scratch(PROBES[name].attempt)
    except (NetemuError, OSError) as error:
        said = str(error)
    assert said
    assert PROBES[name].why


def test_a_probe_leaves_no_namespace_mount_or_descriptor():
    def left() -> tuple[int, int, list[str]]:
        return len(os.listdir("/proc/self/fd")), len(Path("/proc/self/mounts").read_text()), os.listdir("/tmp")

    probe()
    before = left()
    probe()
    assert left()[:2] == before[:2]
    assert not [name for name in set(left()[2]) - set(before[2]) if name.startswith("netemu")]


def test_a_missing_library_is_told_with_what_installs_it(monkeypatch):
    monkeypatch.setattr("netemu.kernel.taps.filters._LIBRARIES", ("libnowhere.so.1",))
    found = next(feature for feature in probe() if feature.name == "libpcap")
    assert (found.there, found.needed) == (False, False)
    assert "libpcap" in found.remedy


def test_a_missing_feature_is_told_with_what_it_is_for_and_what_brings_it(monkeypatch):
    def refused(_net):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(
        "netemu.kernel.machine.probes.PROBES", {"shaping": Probe(refused, module="sch_netem", why="delay and loss")}
    )
    found = next(feature for feature in probe() if feature.name == "shaping")
    assert (found.there, found.needed) == (False, False)
    assert found.detail == "for delay and loss: [Errno 95] Operation not supported"
    assert "sch_netem" in found.remedy


@pytest.mark.parametrize(
    ("manager", "listed", "ubuntu", "expected"),
    [
        ("apt-get", "kernel/net/sched/sch_netem.ko.xz:\n", False, "modprobe sch_netem"),
        ("apt-get", "kernel/other.ko:\n", False, "this kernel (1.2) comes without sch_netem: boot"),
        ("apt-get", "kernel/other.ko:\n", True, "apt-get install -y linux-modules-extra-1.2 && modprobe sch_netem"),
        ("dnf", "kernel/other.ko:\n", False, "dnf install -y kernel-modules-extra && modprobe sch_netem"),
        ("dnf", "", False, "this kernel (1.2) comes without sch_netem: boot"),
    ],
)
def test_what_brings_a_module_depends_on_the_distribution(monkeypatch, manager, listed, ubuntu, expected):
    texts = {"/lib/modules/1.2/modules.dep": listed, "/etc/os-release": "ID=ubuntu" if ubuntu else "ID=debian"}

    def read_text(path, **_):
        return texts[str(path)]

    monkeypatch.setattr(packages.shutil, "which", lambda name: name if name == manager else None)
    monkeypatch.setattr(packages.os, "uname", lambda: os.uname_result(("Linux", "here", "1.2", "", "x86_64")))
    monkeypatch.setattr(packages.Path, "read_text", read_text)
    assert packages.module_command("sch_netem").startswith(expected)
