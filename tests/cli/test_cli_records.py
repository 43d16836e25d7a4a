"""Records kept by up and run, checked again with and without a lab, as root and as an ordinary user, and exported."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ordinary_user import user  # noqa: F401  a fixture

from netemu.record.files.pcapng import read
from netemu.record.record import Record

NETEMU = [sys.executable, "-m", "netemu"]
NODEPORT = Path(__file__).parent.parent.parent / "topologies" / "nodeport.yaml"


def netemu(*arguments: str, **more) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*NETEMU, *arguments], capture_output=True, text=True, timeout=120, check=False, **more)


@pytest.fixture
def named(tmp_path) -> str:
    """The nodeport lab under a name of these tests' own, as a file."""
    file = tmp_path / "kept.yaml"
    file.write_text(NODEPORT.read_text().replace("name: nodeport", "name: kept", 1))
    return str(file)


@pytest.fixture
def lab(named):
    yield named
    netemu("down", "kept")


@pytest.fixture
def saved(named, tmp_path) -> str:
    """A record of one run."""
    file = str(tmp_path / "kept.netemu")
    done = netemu("run", named, "--record", file)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return file


def without_times(text: str) -> dict:
    told = json.loads(text)
    told.pop("timing_ms")
    return told


def test_a_saved_record_is_checked_as_the_run_was_and_no_lab_is_up(named, tmp_path):
    file = str(tmp_path / "kept.netemu")
    ran = netemu("run", named, "--json", "--record", file)
    checked = netemu("check", named, "--record", file, "--json")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert without_times(checked.stdout) == without_times(ran.stdout)
    shown = netemu("check", named, "--record", file).stdout
    assert "request 1   SYN" in shown
    assert shown.rstrip().endswith("pass")


def test_expectations_that_changed_are_held_against_the_same_record(named, saved):
    text = Path(named).read_text()
    Path(named).write_text(text.replace('dst: "172.26.0.3:8080", by: rule', 'dst: "172.26.0.9:8080", by: rule', 1))
    assert Path(named).read_text() != text
    done = netemu("check", named, "--record", saved)
    assert done.returncode == 1
    assert "FAIL" in done.stdout


def test_a_record_is_checked_whatever_the_lab_was_named(named, saved):
    for name in ("nodeport", named):
        done = netemu("check", name, "--record", saved)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout


def test_a_record_of_another_topology_is_refused_with_what_differs(named, saved, tmp_path):
    other = tmp_path / "other.yaml"
    for change, said in (
        (("\nlinks:", "\n  D: {}\nlinks:"), "D not in the record"),
        (("--to-source 192.168.0.2", "--to-source 192.168.0.9"), "hosts.B.iptables: '-A POSTROUTING"),
        (
            ("172.26.0.0/24, via: 192.168.0.3", "172.26.0.0/24, via: 192.168.0.1"),
            "hosts.B.routes[0].via: '192.168.0.3'",
        ),
        (("http://192.168.0.2:30000/", "http://192.168.0.2:30001/"), "traffic.hello.http: "),
        (("name: hello", "name: bye"), "sends no 'hello'"),
    ):
        text = Path(named).read_text().replace(*change, 1)
        assert change[1] in text
        other.write_text(text.split("\nexpect:")[0])
        done = netemu("check", str(other), "--record", saved)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("netemu: the record, of lab kept, is of another topology than kept:")
        assert said in done.stderr, done.stderr


def test_a_lab_that_is_up_is_checked_again_and_stays_up(lab, tmp_path):
    file = str(tmp_path / "up.netemu")
    assert netemu("up", lab, "--record", file).returncode == 0
    for name in ("kept", lab):
        done = netemu("check", name, "--json")
        assert (done.returncode, done.stderr) == (0, "")
        told = json.loads(done.stdout)
        assert (told["verdict"], told["capture"]["lost"]) == ("pass", 0)
        assert [item["name"] for item in told["traffic"]] == ["hello", "pair"]
        assert set(told["timing_ms"]) == {"traffic", "check"}
    assert netemu("check", "kept", "--record", file).returncode == 0, "the topology of the lab that is up"
    taps = json.loads(netemu("show", "kept", "--json").stdout)["hosts"]
    assert not any(host["taps"] for host in taps.values() if isinstance(taps, dict)), "an idle lab has none"


def test_checks_asked_for_side_by_side_are_done_one_after_the_other(lab):
    assert netemu("up", lab).returncode == 0
    both = [subprocess.Popen([*NETEMU, "check", "kept"], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [(each.communicate(timeout=60)[0].rstrip()[-4:], each.returncode) for each in both] == [("pass", 0)] * 3


def test_a_broken_lab_fails_its_check(lab):
    assert netemu("up", lab).returncode == 0
    assert netemu("exec", "kept", "B", "--", "iptables", "-t", "nat", "-F").returncode == 0
    done = netemu("check", "kept")
    assert done.returncode == 1
    assert done.stdout.rstrip().endswith("fail")


def test_a_check_without_a_lab_or_a_record_says_so(tmp_path):
    done = netemu("check", "nodeport")
    assert (done.returncode, done.stdout) == (2, "")
    assert "lab nodeport is not up" in done.stderr
    done = netemu("check", "nodeport", "--record", str(tmp_path / "none"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "can't be read: No such file" in done.stderr
    (tmp_path / "junk").write_bytes(b"junk")
    done = netemu("check", "nodeport", "--record", str(tmp_path / "junk"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"netemu: {tmp_path}/junk is no saved record\n"


@pytest.mark.parametrize("command", ["up", "run"])
def test_a_record_that_can_not_be_kept_is_told_before_anything_is_built(command, tmp_path):
    file = str(tmp_path / "no" / "file")
    told = {"/dev/null": "is no regular file", file: "can't be written", "-": "name a file (./- is one, too)"}
    for place, why in told.items():
        done = netemu(command, "nodeport", "--name", "unkept", "--record", place)
        assert (done.returncode, done.stdout) == (2, "")
        assert why in done.stderr
    assert "unkept" not in netemu("ls").stdout
    assert Path("/dev/null").is_char_device()


def test_a_file_is_replaced_only_by_a_whole_record(named, tmp_path):
    file = tmp_path / "kept.netemu"
    file.write_text("what was there")
    broken = tmp_path / "broken.yaml"
    broken.write_text(Path(named).read_text().replace("-A PREROUTING", "-A NOWHERE", 1))
    assert netemu("run", str(broken), "--record", str(file)).returncode == 2
    assert file.read_text() == "what was there"
    assert netemu("run", named, "--record", str(file)).returncode == 0
    assert Record.load(str(file)).lost == 0
    assert sorted(each.name for each in tmp_path.iterdir()) == ["broken.yaml", "kept.netemu", "kept.yaml"]


def test_a_saved_record_becomes_a_capture_file_and_a_table(saved, tmp_path):
    out = tmp_path / "kept.pcapng"
    assert netemu("export", saved, "--pcapng", str(out)).returncode == 0
    interfaces, packets = read(out.read_bytes())
    assert {"B:eth0", "B@prerouting.nat"} <= {each.name for each in interfaces}
    assert any("by rule -A PREROUTING" in each.comment for each in packets)
    piped = subprocess.run([*NETEMU, "export", saved, "--pcapng", "-"], capture_output=True, check=True)
    assert piped.stdout == out.read_bytes()
    pytest.importorskip("polars")
    piped = subprocess.run([*NETEMU, "export", saved, "--parquet", "-"], capture_output=True, check=True)
    assert piped.stdout[:4] == piped.stdout[-4:] == b"PAR1"


@pytest.mark.parametrize("second", ["/nowhere/x", "without polars"])
def test_of_two_exports_none_is_written_where_one_can_not_be(saved, tmp_path, second):
    out, table = tmp_path / "out.pcapng", tmp_path / "out.parquet"
    without = "import sys; sys.modules['polars'] = None; from netemu.cli.main import main; main(sys.argv[1:])"
    lacks = second == "without polars"
    command = [sys.executable, "-c", without] if lacks else NETEMU
    if not lacks:
        pytest.importorskip("polars")
    where = str(table) if lacks else second
    arguments = ["export", saved, "--pcapng", str(out), "--parquet", where]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (4 if lacks else 2, "")
    assert ("pip install -e '.[frames]'" if lacks else "/nowhere/x can't be written") in done.stderr
    assert not [path for path in tmp_path.iterdir() if "out." in path.name]


@pytest.mark.parametrize("what", ["--pcapng", "--parquet"])
@pytest.mark.parametrize("link", [None, os.link, os.symlink])
def test_an_export_never_takes_the_place_of_its_record(saved, what, link):
    before, out = Path(saved).read_bytes(), saved
    if link is not None:
        out = f"{saved}.linked"
        link(saved, out)
    done = netemu("export", saved, what, out)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"netemu: {out} is what is read, and would be lost: name another file to write to\n"
    assert Path(saved).read_bytes() == before


@pytest.mark.parametrize("command", ["run", "up"])
@pytest.mark.parametrize("name", ["kept.yaml", "rules.nft"])
def test_a_record_never_takes_the_place_of_a_file_that_its_topology_is_read_from(tmp_path, command, name):
    (tmp_path / "rules.nft").write_text("table ip x {}\n")
    (tmp_path / "kept.yaml").write_text("name: kept\nhosts: {A: {nft: {file: rules.nft}}}\n")
    before = (tmp_path / name).read_bytes()
    done = netemu(command, "./kept.yaml", "--record", name, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"netemu: {name} is what is read, and would be lost: name another file to write to\n"
    assert (tmp_path / name).read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["kept.yaml", "rules.nft"]


def test_an_export_says_what_it_lacks(saved):
    for arguments, why in (
        ([], "say what to write"),
        (["--pcapng", "-", "--parquet", "-"], "only one of the two"),
        (["--pcapng", "/nowhere/x"], "can't be written"),
    ):
        done = netemu("export", saved, *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert why in done.stderr
    for kind in ("--pcapng", "--parquet"):
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [*NETEMU, "export", saved, kind, "-"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
            )
        said = "netemu: standard output can't be written: No space left on device\n"
        assert (done.returncode, done.stderr) == (2, said)
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [*NETEMU, "export", saved, "--pcapng", "-"], stdout=theirs, stderr=subprocess.PIPE, text=True, check=False
    )
    assert done.returncode == 2
    assert "not for a terminal" in done.stderr
    os.close(ours)
    os.close(theirs)


def test_an_ordinary_user_without_namespaces_checks_and_exports_a_record(saved, named, user):  # noqa: F811
    for file in (saved, named):
        shutil.copy(file, user.folder)
        os.chmod(user.folder / Path(file).name, 0o644)
    forbidden = "import runpy, sys, ctypes; ctypes.CDLL(None).unshare = None; sys.argv[0] = 'netemu'\n"
    forbidden += "import netemu.kernel.spaces.syscalls as s; s.unshare = s.setns = None\n"
    done = user.python(
        f"{forbidden}runpy.run_module('netemu', run_name='__main__')", "check", "kept.yaml", "--record", "kept.netemu"
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout.rstrip().endswith("pass")
    done = user.netemu("export", "kept.netemu", "--pcapng", "out.pcapng")
    assert (done.returncode, done.stderr) == (0, "")
    assert (user.folder / "out.pcapng").stat().st_uid == user.uid
