"""netemu journeys as a user calls it: text, JSON, exit codes, and what it says of files that can't be used."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from sides_scene import SECOND, Flow, Packet, Way, nat

CLIENT, SERVER, OUTER = ("192.168.1.2", 5000), ("198.51.100.7", 80), ("203.0.113.9", 61000)


def netemu(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "netemu", *(str(each) for each in arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


def written(made: Way, folder: Path) -> list[Path]:
    files = [folder / f"{name}.pcap" for name in ("home", "isp", "server")[: made.sides]]
    for file, data in zip(files, made.captures(), strict=True):
        file.write_bytes(data)
    return files


def chat(flow: Flow, lost: int | None = None, first: int = 100) -> Way:
    made = Way(2, Random(1), offsets=[0, 7200 * SECOND])
    for place in range(10):
        packet = Packet("tcp", ("", 0), ("", 0), seq=first + place, ip_id=place, flags=0x02 if place == 0 else 0x10)
        gone = 0 if place == lost else None
        made.send(flow, 10**18 + place * SECOND // 10, packet, reply=place % 2 == 1, lost_after=gone)
    return made


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return written(chat(nat("tcp", CLIENT, SERVER, OUTER), lost=4), tmp_path)


def test_the_flows_the_rewrites_the_losses_and_the_clock_are_told(files):
    done = netemu("journeys", *files)
    assert done.returncode == 0, done.stderr
    assert "src 192.168.1.2:5000 ⇒ 203.0.113.9:61000   between home and isp" in done.stdout
    assert "4 requests, 1 lost between, " in done.stdout
    assert "clock 2 h 0 min 0.000 s ahead, ± 1." in done.stdout
    assert "flow 1   tcp   5 requests, 5 replies" in done.stdout
    assert "mapping" not in done.stdout, "one flow tells nothing of a mapping"


def test_one_flows_packets_are_walked(files):
    done = netemu("journeys", *files, "--flow", 1)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("request ") == 5
    lines = done.stdout.splitlines()
    third = next(number for number, line in enumerate(lines) if "request 3 " in line)
    assert [line.split()[-1] for line in lines[third + 2 : third + 3]] == ["lost"]


def test_all_flows_are_walked_and_those_of_one_side_only_are_said(files):
    made = chat(nat("tcp", CLIENT, SERVER, OUTER))
    made.send(nat("tcp", ("192.168.1.9", 9), SERVER, OUTER), 10**18, Packet("tcp", ("", 0), ("", 0)), lost_after=0)
    written(made, files[0].parent)
    told, brief = (netemu("journeys", *files, *more).stdout for more in (["--all"], []))
    assert "192.168.1.9:9 → 198.51.100.7:80" in told
    assert told.count("seen on one side only") == 1
    assert "request 5 " in told
    assert "192.168.1.9" not in brief
    assert "1 flow joined, 1 on one side only" in brief


def test_json_can_be_of_one_flow(files):
    told = json.loads(netemu("journeys", *files, "--flow", 1, "--json").stdout)
    assert [flow["id"] for flow in told["flows"]] == [1]
    assert {journey["flow"] for journey in told["journeys"]} == {1}


def test_json_has_the_keys_of_a_run_and_those_of_the_sides(files):
    done = netemu("journeys", *files, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    home, isp = told["sides"]
    assert (home["offset_ns"], isp["name"]) == (0, "isp")
    assert abs(isp["offset_ns"] - 7200 * SECOND) <= isp["uncertainty_ns"]
    (flow,) = told["flows"]
    assert flow["joined"] is True
    assert [each["src"] for each in flow["tuples"]] == ["192.168.1.2", "203.0.113.9"]
    first = told["journeys"][0]
    assert (first["flow"], first["direction"], first["nth"], first["proto"], first["complete"]) == (
        *(1, "original", 1, "tcp"),
        True,
    )
    assert {"point", "time_ns", "src", "sport", "dst", "dport", "ttl", "ct"} <= first["sightings"][0].keys()
    assert {change["by"] for change in first["rewrites"] if change["field"] == "src"} == {"unknown"}
    assert first["rewrites"][0]["between"] == ["home", "isp"]
    missing = [journey for journey in told["journeys"] if not journey["complete"]]
    assert [journey["missing"] for journey in missing] == [[{"point": "isp", "why": "lost"}]]


def test_files_that_share_no_packet_are_unproven(files, tmp_path):
    (tmp_path / "other").mkdir()
    strangers = written(chat(nat("tcp", CLIENT, SERVER, OUTER), first=900), tmp_path / "other")
    done = netemu("journeys", files[0], strangers[1])
    assert done.returncode == 3
    assert "nothing could be joined" in done.stdout
    assert json.loads(netemu("journeys", files[0], strangers[1], "--json").stdout)["verdict"] == "unproven"


def test_what_of_a_damaged_file_could_not_be_taken_is_said(files):
    files[1].write_bytes(files[1].read_bytes()[:-3])
    done = netemu("journeys", *files)
    assert done.returncode == 0
    assert "breaks off in a packet at byte" in done.stdout


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("text.pcap", b"no capture at all", "is neither pcapng nor pcap"),
        ("empty.pcap", b"", "is neither pcapng nor pcap"),
        ("missing.pcap", None, "can't be read: No such file"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(files, tmp_path, name, content, said):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    done = netemu("journeys", files[0], tmp_path / name)
    assert done.returncode == 2
    assert f"{name} {said}" in done.stderr
    assert "Traceback" not in done.stderr


def test_one_side_alone_and_an_unknown_flow_are_usage_errors(files):
    for arguments in ((files[0],), (*files, "--flow", 9)):
        done = netemu("journeys", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.count("\n") == 1


def test_one_file_is_not_two_sides(files, tmp_path):
    link = tmp_path / "link.pcap"
    link.symlink_to(files[0])
    for given, said in ((files[0], "is given twice"), (link, f"link.pcap is {files[0]} once more")):
        done = netemu("journeys", files[0], given)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr


def test_a_folder_is_no_capture(files, tmp_path):
    done = netemu("journeys", files[0], tmp_path)
    assert (done.returncode, done.stderr) == (2, f"netemu: {tmp_path} can't be read: Is a directory\n")


def test_an_ordinary_user_needs_nothing_more(user, files):
    names = []
    for file in files:
        names.append(str(user.folder / file.name))
        Path(names[-1]).write_bytes(file.read_bytes())
        Path(names[-1]).chmod(0o644)
    done = user.netemu("journeys", *names)
    assert done.returncode == 0, done.stderr
    assert "1 flow joined" in done.stdout
