"""Which plain names of iptables a host has covered, and by what."""

from __future__ import annotations

import os

import pytest

from netemu.kernel.rules import variants
from netemu.kernel.rules.variants import Variant

NAMES = [f"{tool}{action}" for tool in ("iptables", "ip6tables") for action in ("", "-save", "-restore")]


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine's /usr/sbin, with /sbin a symlink to it, as Debian has them: by way of /etc/alternatives, nft's."""
    sbin, chosen = tmp_path / "usr/sbin", tmp_path / "etc/alternatives"
    sbin.mkdir(parents=True)
    chosen.mkdir(parents=True)
    (tmp_path / "sbin").symlink_to("usr/sbin")
    for backend in ("nft", "legacy"):
        program = sbin / f"xtables-{backend}-multi"
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        for tool in ("iptables", "ip6tables"):
            for action in ("", "-save", "-restore"):
                (sbin / f"{tool}-{backend}{action}").symlink_to(program.name)
    for name in NAMES:
        tool, _, action = name.partition("-")
        (chosen / name).symlink_to(sbin / "-".join(filter(None, (tool, "nft", action))))
        (sbin / name).symlink_to(chosen / name)
    monkeypatch.setattr(variants, "_FOLDERS", (str(sbin), str(tmp_path / "sbin"), str(tmp_path / "bin")))
    return sbin


def test_each_plain_name_is_covered_once_and_itself_where_the_machine_chose_otherwise(machine):
    covers = Variant("legacy").covers(())
    assert sorted(name for _, name in covers) == sorted(str(machine / name) for name in NAMES)
    assert {program for program, _ in covers} == {machine / "xtables-legacy-multi"}
    assert all(os.path.islink(name) for _, name in covers)


def test_nothing_is_covered_where_the_machine_chose_alike(machine):
    assert Variant("nft").covers(()) == []
    assert Variant("nft").remarks == ()


@pytest.mark.parametrize("place", ["usr/sbin", "sbin"])
def test_what_a_topology_places_stays(machine, place):
    placed = str(machine.parents[1] / place / "iptables")
    names = {name for _, name in Variant("legacy").covers([placed])}
    assert names == {str(machine / name) for name in NAMES if name != "iptables"}


def test_a_plain_name_that_leads_nowhere_is_covered_and_one_that_is_not_there_is_not(machine):
    (machine.parents[1] / "etc/alternatives/iptables-save").unlink()
    (machine / "ip6tables").unlink()
    names = {name for _, name in Variant("nft").covers(())}
    assert names == {str(machine / "iptables-save")}


def test_what_the_machine_lacks_is_told(machine):
    for tool in ("iptables", "ip6tables"):
        for action in ("", "-save", "-restore"):
            (machine / f"{tool}-legacy{action}").unlink()
    variant = Variant("legacy")
    assert variant.covers(()) == []
    assert len(variant.remarks) == len(NAMES)
    told = next(each for each in variant.remarks if each.startswith(f"{machine}/iptables is"))
    assert told.startswith(f"{machine}/iptables is of the machine's choice: iptables-legacy is missing: ")
