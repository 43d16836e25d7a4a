"""What a host's root does on the host without meaning harm, the machine keeps nothing of."""

from __future__ import annotations

from pathlib import Path

import pytest

from netemu import Lab, Topology, TopologyError
from netemu.topology.load import loads

MACHINES_OWN = "/proc/sys/vm/swappiness"


@pytest.fixture
async def lab():
    async with Lab(Topology.model_validate({"name": "two", "hosts": {"A": {}, "B": {}}})) as lab:
        yield lab


async def test_a_hosts_root_writes_its_own_sysctls_and_not_the_machines(lab):
    """What the machine has is written back as it is: were it allowed, nothing would change either."""
    theirs = Path(MACHINES_OWN).read_text()
    refused = await lab["A"].run("sh", "-c", f"echo {theirs.strip()} > {MACHINES_OWN}")
    assert refused.returncode != 0
    assert "Read-only file system" in refused.stderr or "cannot create" in refused.stderr
    mine = "/proc/sys/net/ipv4/ip_forward"
    assert (await lab["A"].run("sh", "-c", f"echo 1 > {mine} && cat {mine}")).stdout == "1\n"
    assert (await lab["B"].run("cat", mine)).stdout == "0\n"


async def test_a_hosts_proc_has_nothing_of_the_machine_to_be_written(lab):
    shown = await lab["A"].run("cat", "/proc/self/mountinfo")
    modes = {line.split()[4]: line.split()[5].split(",")[0] for line in shown.stdout.splitlines()}
    assert modes["/proc/sys"] == "ro"
    assert modes["/proc/sys/net"] == "rw"
    for path in ("/proc/irq", "/proc/sysrq-trigger"):
        assert modes.get(path) == "ro" or not Path(path).exists()


OWN = """
name: own
hosts:
  A:
    tmpfs: [/tmp, /run/netemu-tests/deep]
    files: {/run/netemu-tests/deep/conf: mine}
    services:
      bound:
        command: [python3, -c, "import socket as s; a = s.socket(1); a.bind('/tmp/x'); a.listen(); a.accept()"]
        ready: {unix: /tmp/x}
      beside:
        command: [python3, -c, "import socket as s; a = s.socket(1); a.bind('y'); a.listen(); a.accept()"]
        ready: {unix: y}
  B:
    tmpfs: [/run]
    services: {kept: {command: [sh, -c, "touch /run/x here; sleep 99"], ready: {command: [test, -e, here]}}}
"""


async def test_many_new_folders_of_one_parent_make_it_the_hosts_own_once():
    """Each overlay binds again what is mounted below: were there one for each, they would double and double."""
    folders = [f"/run/netemu-tests-{number}" for number in range(12)]
    files = {f"{folder}/conf": folder for folder in folders}
    async with Lab({"name": "own", "hosts": {"A": {"tmpfs": [*folders, "/dev/shm"], "files": files}}}) as lab:
        mounts = (await lab["A"].run("cat", "/proc/self/mountinfo")).stdout.splitlines()
        shown = (await lab["A"].run("sh", "-c", "cat /run/netemu-tests-*/conf; ls /dev/shm")).stdout
    at = [line.split()[4] for line in mounts]
    assert sorted(shown.split("/run/")[1:]) == sorted(folder.removeprefix("/run/") for folder in folders)
    assert [at.count(folder) for folder in folders] == [1] * 12, "files are put straight into them"
    assert at.count("/run") <= 2


async def test_hosts_have_folders_of_their_own_and_the_machine_has_nothing_of_them():
    """The same path is bound in two labs; a new folder below /run leaves the services' own folders in sight."""
    topology, source = loads(OWN)
    async with Lab(topology, source=source) as lab, Lab(topology, source=source) as twin:
        for each in (lab, twin):
            shown = await each["A"].run(
                "sh", "-c", "ls -A /tmp /run/netemu-tests/deep; cat /run/netemu-tests/deep/conf"
            )
            assert shown.stdout.split() == ["/run/netemu-tests/deep:", "conf", "/tmp:", "x", "mine"]
            mode = await each["A"].run("stat", "-c", "%a %u", "/tmp")
            assert mode.stdout == "1777 0\n"
            by_others = await each["A"].run("touch", "/run/netemu-tests/deep/mine", user="nobody")
            assert by_others.returncode == 0, by_others.stderr
        assert (await lab["B"].run("ls", "/run")).stdout.split()[-1] == "x"
    assert not [path for path in ("/tmp/x", "/run/x", "/run/netemu-tests") if Path(path).exists()]


async def brought_up(text: str) -> None:
    topology, source = loads(text)
    async with Lab(topology, source=source):
        pass


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("[/proc/x]", "hosts.A.tmpfs[0]: /proc/x is the kernel's: it can't be empty"),
        ("[/]", "hosts.A.tmpfs[0]: "),
        ("[/usr]", "hosts.A.tmpfs[0]: /usr can't be empty: every process needs what is there"),
        ("[/tmp, /tmp/]", "hosts.A.tmpfs[1]: "),
        ("[/run, /run/frr]", "hosts.A.tmpfs[1]: is in /run, an empty one"),
        ("[/run/frr, /run]", "hosts.A.tmpfs[0]: is in /run, an empty one"),
        ("[/dev/fd]", "hosts.A.tmpfs[0]: /dev/fd is the kernel's"),
        ("[/etc/passwd]", "hosts.A.tmpfs[0]: host A: /etc/passwd is no folder"),
        ("[tmp]", "hosts.A.tmpfs[0]: "),
    ],
)
async def test_a_folder_for_which_there_is_no_place_is_told_before_anything_is_built(given: str, told: str):
    with pytest.raises(TopologyError) as error:
        await brought_up(f"name: own\nhosts: {{A: {{tmpfs: {given}}}}}")
    assert told in str(error.value)


async def test_a_link_into_the_kernels_folders_is_no_place_for_one(tmp_path):
    link = tmp_path / "link"
    link.symlink_to("/proc")
    with pytest.raises(TopologyError, match=f"{link} leads into /proc: nothing can be placed there"):
        await brought_up(f"name: own\nhosts: {{A: {{tmpfs: [{link}]}}}}")


async def test_a_user_whom_nobody_knows_is_told_before_anything_is_built():
    with pytest.raises(TopologyError) as error:
        await brought_up("name: own\nhosts: {A: {user: nosuch}, B: {services: {s: {command: [x], user: nor-this}}}}")
    told = str(error.value)
    assert "hosts.A.user: host A: there is no user nosuch" in told
    assert "hosts.B.services.s.user: host B: there is no user nor-this" in told


async def test_a_hosts_named_namespaces_are_its_own_and_go_with_it(lab):
    names = Path("/run/netns")
    before = sorted(names.iterdir()) if names.exists() else []
    made = await lab["A"].run("sh", "-ec", "ip netns add inner; ip netns exec inner ip link show lo; ip netns list")
    assert made.returncode == 0, made.stderr
    assert made.stdout.splitlines()[-1].split()[0] == "inner"
    assert "inner" not in (await lab["B"].run("ip", "netns", "list")).stdout
    assert sorted(names.iterdir()) == before
