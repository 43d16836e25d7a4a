"""Rules and files that stand in files of their own, named in the topology file."""

from __future__ import annotations

import pytest

from netemu.errors import TopologyError
from netemu.topology.load import load
from netemu.topology.model import Topology

LAB = """\
name: one
hosts:
  A:
    iptables: {file: rules/a.v4}
    nft: {file: rules/a.nft}
    files:
      /etc/motd: {file: motd, mode: "0600"}
      /etc/inline: hello
      /etc/bytes: {file: bytes}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules/a.v4").write_text("*nat\nCOMMIT\n")
    (tmp_path / "rules/a.nft").write_text("table ip t {\n}\n")
    (tmp_path / "motd").write_text("welcome\n")
    (tmp_path / "bytes").write_bytes(b"\xff\x00")
    (tmp_path / "lab.yaml").write_text(LAB)
    return tmp_path


def problems_of(folder, text):
    (folder / "lab.yaml").write_text(text)
    with pytest.raises(TopologyError) as caught:
        load(folder / "lab.yaml")
    return caught.value.problems


def test_rules_and_files_are_read_relative_to_the_topology_file(folder):
    host = load(folder / "lab.yaml")[0].hosts["A"]
    assert host.iptables == "*nat\nCOMMIT\n"
    assert host.nft == "table ip t {\n}\n"
    assert {path: file.data for path, file in host.files.items()} == {
        "/etc/motd": b"welcome\n",
        "/etc/inline": b"hello",
        "/etc/bytes": b"\xff\x00",
    }
    assert [file.permissions for file in host.files.values()] == [0o600, 0o644, 0o644]


def test_a_complaint_about_a_line_of_rules_names_the_file_that_holds_them(folder):
    _, source = load(folder / "lab.yaml")
    problem = source.problem("no", ("hosts", "A", "iptables"), 2)
    assert (problem.file, problem.line) == (str(folder / "rules/a.v4"), 2)
    assert source.problem("no", ("hosts", "A", "iptables")).line == 4


@pytest.mark.parametrize(
    ("old", "new", "key", "says"),
    [
        ("rules/a.v4", "rules/b.v4", "hosts.A.iptables.file", "rules/b.v4' can't be read: No such file or directory"),
        ("rules/a.v4", "rules", "hosts.A.iptables.file", "rules' is no plain file"),
        ("rules/a.v4", "bytes", "hosts.A.iptables.file", "bytes' is no UTF-8 text"),
        ("file: motd", "file: none", "hosts.A.files./etc/motd.file", "none' can't be read"),
        ("file: motd", "file: motd, content: x", "hosts.A.files./etc/motd", "give one of content and file"),
        ("file: motd", "fil: motd", "hosts.A.files./etc/motd.fil", "unknown key 'fil', did you mean 'file'?"),
        (
            "file: rules/a.v4",
            "fiel: x",
            "hosts.A.iptables",
            "unknown key 'fiel': give the rules as a text, or as {file: PATH}",
        ),
        ("file: rules/a.v4", "file: 3", "hosts.A.iptables", "give the rules as a text, or as {file: PATH}"),
        ('"0600"', "0600", "hosts.A.files./etc/motd.mode", "'600' is a number: a text is due here, in quotes"),
        ('"0600"', '"rw"', "hosts.A.files./etc/motd.mode", "'rw' is no mode: write it in quotes as chmod has it"),
        ("/etc/motd", "etc/motd", "hosts.A.files.etc/motd", "'etc/motd' is no absolute path of a file"),
    ],
)
def test_a_file_that_can_not_be_had_is_told_with_its_line(folder, old, new, key, says):
    assert old in LAB
    (problem,) = problems_of(folder, LAB.replace(old, new, 1))
    assert problem.key == key
    assert says in problem.message
    assert problem.line == LAB[: LAB.index(old)].count("\n") + 1


def test_a_file_too_large_to_be_meant_is_refused(folder):
    with (folder / "motd").open("wb") as file:
        file.truncate(16 * 2**20 + 1)
    (problem,) = problems_of(folder, LAB)
    assert "is larger than 16 MiB" in problem.message


def test_counted_hosts_may_read_files_of_their_own(folder):
    for n in (1, 2):
        (folder / f"m{n}").write_text(f"I am {n}, not {{n}}")
    (folder / "lab.yaml").write_text('name: n\nhosts:\n  X: {count: 2, files: {/etc/motd: {file: "m{n}"}}}\n')
    hosts = load(folder / "lab.yaml")[0].hosts
    assert [host.files["/etc/motd"].data for host in hosts.values()] == [b"I am 1, not {n}", b"I am 2, not {n}"]


def test_python_gives_the_text_itself():
    with pytest.raises(TopologyError, match="only a topology file can name a file, in Python give the text itself"):
        Topology.model_validate({"name": "n", "hosts": {"A": {"iptables": {"file": "x"}}}})
    with pytest.raises(TopologyError, match="only a topology file can name a file"):
        Topology.model_validate({"name": "n", "hosts": {"A": {"files": {"/etc/x": {"file": "x"}}}}})
