"""The topologies that come with netemu: by name, and what each must hold."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

import netemu
from netemu.errors import TopologyError, UsageError
from netemu.topology.given import given
from netemu.topology.library import find, shipped
from netemu.topology.load import load


def test_the_checkouts_topologies_are_known_by_name():
    folder = Path(__file__).parents[2] / "topologies"
    assert shipped() == sorted(file.stem for file in folder.glob("*.yaml"))
    assert "nodeport" in shipped()


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_topology_loads_and_is_named_as_its_file(name):
    topology, _ = load(find(name))
    assert topology.name == name
    assert topology.description
    assert topology.traffic
    assert topology.expect


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_topology_fits_the_published_schema(name):
    document = YAML(typ="safe", pure=True).load(find(name))
    jsonschema.Draft202012Validator(netemu.schema()).validate(document)


@pytest.mark.parametrize("lab", ["here.yaml", "here.yml", "./here.yaml", "./noending"])
def test_a_path_means_that_file(lab, tmp_path, monkeypatch):
    (tmp_path / lab).touch()
    monkeypatch.chdir(tmp_path)
    assert find(lab).resolve() == (tmp_path / lab).resolve()


def test_a_folder_is_told_with_a_file_that_may_be_meant(tmp_path):
    for shown in ("./mine.yaml", tmp_path / "lab.yml"):
        with pytest.raises(UsageError) as caught:
            find(str(tmp_path))
        assert str(caught.value) == f"{tmp_path} is a folder: give a topology file, as in {shown}"
        (tmp_path / "lab.yml").touch()


def test_what_is_no_plain_file_is_told_and_never_waited_for(tmp_path):
    fifo = tmp_path / "lab.yaml"
    os.mkfifo(fifo)
    with pytest.raises(UsageError, match=r"lab\.yaml is no plain file"):
        find(str(fifo))
    with pytest.raises(TopologyError, match=r"lab\.yaml: is no plain file"):
        load(fifo)


def test_a_file_that_is_not_there_or_may_not_be_read_is_told(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=f"^no topology file {tmp_path}/none.yaml$"):
        find(f"{tmp_path}/none.yaml")

    def refuse(path, **_):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(UsageError, match=r"^/root/lab\.yaml can't be read: Permission denied$"):
        find("/root/lab.yaml")


def test_a_bare_name_never_means_a_file_of_the_current_folder(tmp_path, monkeypatch):
    for file in ("mine.yaml", "mine", "nodeport.yaml", "nodeport"):
        (tmp_path / file).touch()
    monkeypatch.chdir(tmp_path)
    assert tmp_path not in find("nodeport").parents
    with pytest.raises(UsageError, match=r"as in \./mine\.yaml"):
        find("mine")


@pytest.mark.parametrize("lab", ["", "nosuch", "NODEPORT", "nodeport\0"])
def test_an_unknown_name_is_told_with_those_there_are(lab):
    with pytest.raises(UsageError) as caught:
        find(lab)
    assert "nodeport" in str(caught.value).splitlines()[1]


@pytest.mark.parametrize(("lab", "meant"), [("nodport", "nodeport"), ("NodePort", "nodeport")])
def test_a_name_that_is_nearly_one_is_told_with_that_one(lab, meant):
    with pytest.raises(UsageError, match=rf"^no lab named '{lab}', did you mean '{meant}'\?\n"):
        find(lab)


def test_a_topology_is_given_by_itself_a_name_a_path_or_a_mapping(tmp_path):
    named, _ = given("nodeport")
    assert given(named)[0] is named
    path = find("nodeport")
    assert given(path)[0] == given(str(path))[0] == named
    assert given({"name": "one", "hosts": {"A": {}}})[0].name == "one"
    with pytest.raises(UsageError, match=r"^no lab named"):
        given("nosuch")
    for wrong in ({"name": "one"}, tmp_path / "nosuch.yaml"):
        with pytest.raises(TopologyError):
            given(wrong)


@pytest.mark.parametrize("lab", ["nosuch.yaml", "./nosuch", "../topologies/nosuch.yaml", "/etc/passwd/x"])
def test_a_path_that_is_no_file_is_told(lab):
    with pytest.raises(UsageError, match=f"no topology file {lab}"):
        find(lab)


@pytest.mark.parametrize("folder", [".", ".."])
def test_a_folder_named_by_its_dots_is_told_to_be_one(folder):
    with pytest.raises(UsageError, match=f"^{re.escape(folder)} is a folder: give a topology file"):
        find(folder)
