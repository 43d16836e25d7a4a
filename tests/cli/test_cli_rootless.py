"""The commands as an ordinary user: the same labs, in a user namespace; and what forbids that, by name."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ordinary_user import OrdinaryUser

from netemu.lab.folder import BASE

PLAIN = """
name: plain
networks: {lan: {}}
hosts:
  A: {interfaces: {eth0: {network: lan, addresses: [10.0.0.1/24]}}}
  B: {interfaces: {eth0: {network: lan, addresses: [10.0.0.2/24]}}, services: {wait: {command: [sleep, "1000"]}}}
"""
RESOLVED_BY = ("/etc/resolv.conf", "/etc/nsswitch.conf")
FORBIDDEN = """
import os, sys
ready, told = os.pipe(), os.pipe()
if (child := os.fork()) == 0:
    from netemu.kernel.spaces.syscalls import CLONE_NEWUSER, unshare
    unshare(CLONE_NEWUSER)
    os.write(ready[1], b"x"); os.read(told[0], 1)
    with open("/proc/sys/user/max_user_namespaces", "w") as file: file.write("0")
    os.setgroups([]); os.setresgid(1234, 1234, 1234); os.setresuid(1234, 1234, 1234)
    os.execv(sys.argv[1], sys.argv[1:])
os.read(ready[0], 1)
for kind in ("gid_map", "uid_map"):
    with open(f"/proc/{child}/{kind}", "w") as file: file.write("0 0 65536")
os.write(told[1], b"x")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
"""Runs a command as an ordinary user in a user namespace whose own sysctl allows no further ones: a kernel that
forbids them, without touching the machine's."""


@pytest.fixture
def plain(user) -> str:
    file = user.folder / "plain.yaml"
    file.write_text(PLAIN)
    return str(file)


def until(condition, within: float = 2.0) -> bool:
    end = time.monotonic() + within
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def test_an_ordinary_user_proves_the_nodeport(user):
    done = user.netemu("run", "nodeport", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["verdict"], told["capture"]["lost"]) == ("pass", 0)


@pytest.mark.needs("legacy iptables")
def test_an_ordinary_user_proves_it_with_the_legacy_backend_too(user):
    """iptables-legacy's lock is the machine's, and root's: it is given another."""
    done = user.netemu("up", "nodeport", "--backend", "legacy", "--json")
    assert done.returncode == 0, done.stderr
    for name in ("iptables", "iptables-legacy"):  # the plain name is the lab's backend
        rules = user.netemu("exec", "nodeport", "B", "--", name, "-t", "nat", "-S")
        assert "--dport 30000 -j DNAT" in rules.stdout, rules.stderr
    assert user.netemu("down", "nodeport").returncode == 0
    changes = [change for journey in json.loads(done.stdout)["journeys"] for change in journey["rewrites"]]
    assert {change["told_by"] for change in changes if change["by"] == "rule"} == {"counters"}


def test_an_ordinary_users_hosts_have_files_at_new_places(user):
    """In folders that are root's, which is nobody in the user's own namespace, and in one that is not there yet."""
    file = user.folder / "files.yaml"
    files = "{/srv/new: of srv, /srv/deeper/still: deeper, /opt/new/er: of opt, /nowhere/yet: own root}"
    file.write_text(f"name: filed\nhosts: {{A: {{files: {files}}}}}\n")
    assert user.netemu("up", str(file)).returncode == 0
    for path, content in (("/srv/new", "of srv"), ("/srv/deeper/still", "deeper"), ("/opt/new/er", "of opt")):
        done = user.netemu("exec", "filed", "A", "--", "cat", path)
        assert (done.stdout, done.stderr) == (content, "")
    assert user.netemu("exec", "filed", "A", "--", "cat", "/nowhere/yet").stdout == "own root"
    assert user.netemu("down", "filed").returncode == 0


def test_files_have_a_place_in_a_folder_with_the_machines_own_mounts_below_it(user):
    """As /etc of a container has them: there they can't be parted from it, nor that be overlaid."""
    (user.folder / "named").write_text("of the machine\n")
    subprocess.run(["mount", "--bind", str(user.folder / "named"), "/etc/profile"], check=True)
    try:
        file = user.folder / "files.yaml"
        file.write_text("name: filed\nhosts: {A: {files: {/etc/new: of etc, /etc/deeper/still: deeper}}}\n")
        done = user.netemu("up", str(file))
        assert done.returncode == 0, done.stderr
        shown = "cat /etc/new /etc/deeper/still /etc/profile; getent passwd nobody >&2; touch /etc/mine; hostname"
        done = user.netemu("exec", "filed", "A", "--", "sh", "-c", shown)
        assert done.stdout == "of etcdeeperof the machine\nA\n", done.stderr
        assert done.stderr.startswith("nobody:")
        assert user.netemu("down", "filed").returncode == 0
    finally:
        subprocess.run(["umount", "/etc/profile"], check=True)
    assert not Path("/etc/mine").exists()


def test_an_ordinary_user_has_labs_of_its_own_from_up_to_down(user, plain):
    done = user.netemu("up", plain)
    assert done.returncode == 0, done.stderr
    assert user.state[1:] == ["plain"]
    assert [lab["hosts"] for lab in json.loads(user.netemu("ls", "--json").stdout)] == [["A", "B"]]
    done = user.netemu("exec", "plain", "B", "--", "sh", "-c", "id -u; ip -br -4 address show eth0; exit 7")
    assert (done.returncode, done.stdout.split()[0], done.stdout.split()[-1]) == (7, "0", "10.0.0.2/24"), done.stderr
    done = user.netemu("exec", "plain", "B", "--", "grep", "-hE", "^(nameserver|hosts:)", *RESOLVED_BY)
    assert done.stdout == "hosts: files\n"
    done = user.netemu("down", "plain")
    assert done.returncode == 0, done.stderr
    assert user.netemu("ls").stdout == "no lab is up\n"


def test_root_and_an_ordinary_user_do_not_see_each_others_labs(user, plain):
    BASE.mkdir(mode=0o700, exist_ok=True)
    assert user.netemu("up", plain).returncode == 0
    assert not (BASE / "plain").is_symlink()
    assert not list(Path("/run/netns").glob("plain-*"))
    assert user.netemu("down", "plain").returncode == 0
    done = user.netemu("exec", "plain", "A", "--", "true")
    assert done.returncode == 2
    assert "up now: none; root's labs only root sees" in done.stderr


def test_a_killed_supervisor_of_an_ordinary_user_leaves_nothing(user, plain):
    assert user.netemu("up", plain).returncode == 0
    (lab,) = json.loads(user.netemu("ls", "--json").stdout)
    assert any("sleep 1000" in command for command in user.processes())
    os.kill(lab["pid"], signal.SIGKILL)
    assert until(lambda: not user.processes()), user.processes()
    assert until(lambda: not [name for name in user.state if name.startswith(".lab-")])
    assert user.netemu("up", plain).returncode == 0
    assert user.netemu("down", "plain").returncode == 0


def test_an_ordinary_users_stopped_supervisor_is_listed_so_and_ended(user, plain):
    assert user.netemu("up", plain).returncode == 0
    (lab,) = json.loads(user.netemu("ls", "--json").stdout)
    os.kill(lab["pid"], signal.SIGSTOP)
    assert until(lambda: json.loads(user.netemu("ls", "--json").stdout)[0]["state"] == "stopped")
    done = user.netemu("exec", "plain", "A", "--", "true")
    assert (done.returncode, f"kill -CONT {lab['pid']} lets it go on" in done.stderr) == (2, True)
    assert user.netemu("down", "plain").returncode == 0
    assert until(lambda: not user.processes()), user.processes()
    assert until(lambda: not user.state), user.state


def test_a_library_user_may_have_imported_numpy_before_it_makes_a_lab(user):
    program = """
import asyncio, numpy
from netemu import Lab
async def main():
    async with Lab("nodeport") as lab:
        print((await lab.prove()).verdict, (await lab["B"].run("cat", "/proc/sys/net/ipv4/ip_forward")).stdout)
asyncio.run(main())
"""
    done = user.python(program)
    assert done.stdout.split() == ["pass", "1"], done.stderr


def test_a_process_with_threads_is_told_what_to_do(user):
    program = """
import asyncio, threading
from netemu import Lab, PrivilegeError
waiting = threading.Event()
threading.Thread(target=waiting.wait).start()
async def main():
    async with Lab("nodeport"): pass
try: asyncio.run(main())
except PrivilegeError as error: print(error)
finally: waiting.set()
"""
    done = user.python(program)
    assert "netemu.enter_user_namespace() before it starts any" in done.stdout, done.stderr
    assert "unshare -Ur" in done.stdout


def test_a_lab_in_a_user_namespace_that_somebody_else_made_works_too(user):
    done = user.run("unshare", "-Ur", "/run/environment/bin/python", "-m", "netemu", "run", "nodeport", "--json")
    assert done.returncode == 0, done.stderr


def test_the_pytest_plugin_works_for_an_ordinary_user(user):
    (user.folder / "test_it.py").write_text("""
import pytest
@pytest.mark.lab("nodeport")
async def test_it(lab):
    report = await lab.prove()
    assert report.verdict == "pass", report.explain()
""")
    settings = [
        "-p",
        "no:cacheprovider",
        "-o",
        "asyncio_mode=auto",
        "-o",
        "asyncio_default_fixture_loop_scope=function",
    ]
    done = user.run("/run/environment/bin/python", "-m", "pytest", "-q", *settings, "test_it.py")
    assert done.returncode == 0, done.stdout


def test_doctor_says_that_an_ordinary_user_may_have_labs(user):
    done = user.netemu("doctor", "--json")
    told = {feature["name"]: feature for feature in json.loads(done.stdout)["features"]}
    assert done.returncode == 0, done.stdout
    assert (told["root"]["there"], told["root"]["needed"]) == (False, False)
    assert (told["user namespaces"]["there"], told["user namespaces"]["needed"]) == (True, True)
    assert told["nf_tables"]["there"]


def test_a_user_without_a_private_folder_is_told_which_variable_names_one(user):
    user.environment |= {"XDG_RUNTIME_DIR": "/run", "HOME": "/"}
    done = user.netemu("run", "nodeport")
    assert done.returncode == 4
    refused = f"XDG_RUNTIME_DIR=/run is not yours, /run/user/{user.uid} is not there, /.local/state is not there"
    assert f"({refused}): set XDG_RUNTIME_DIR to one, or make one: sudo install -d -m 700" in done.stderr
    done = user.netemu("doctor", "--json")
    told = state_folder(done)
    assert (done.returncode, told["there"], told["needed"]) == (4, False, True)
    assert told["detail"].endswith(f"there is none ({refused})")
    assert told["remedy"].endswith(f"sudo install -d -m 700 -o {user.uid} /run/user/{user.uid}")


def test_a_home_that_the_user_may_not_look_into_is_told_as_such(user, tmp_path: Path):
    """As root's is where su or setpriv leave HOME as it was."""
    tmp_path.chmod(0o700)
    user.environment |= {"HOME": str(tmp_path)}
    user.environment.pop("XDG_RUNTIME_DIR")
    done = user.netemu("ls")
    assert done.returncode == 4, done.stderr
    assert f"{tmp_path}/.local/state can't be looked at (Permission denied)" in done.stderr


def state_folder(done: subprocess.CompletedProcess[str]) -> dict:
    return next(each for each in json.loads(done.stdout)["features"] if each["name"] == "private folder")


def test_doctor_says_where_labs_are_kept_and_why_not_elsewhere(user):
    assert state_folder(user.netemu("doctor", "--json"))["detail"] == f"labs are kept in {user.folder}/netemu"
    user.environment |= {"XDG_RUNTIME_DIR": "/run/user/0", "HOME": str(user.folder)}
    told = state_folder(user.netemu("doctor", "--json"))
    kept = f"{user.folder}/.local/state/netemu"
    assert (told["there"], told["detail"]) == (
        True,
        f"labs are kept in {kept} (XDG_RUNTIME_DIR=/run/user/0 is not there)",
    )


def test_a_folder_that_others_may_write_is_refused_as_a_place_for_labs(user, plain):
    """Whoever may write there may put another in its place."""
    user.environment["HOME"] = "/"
    user.folder.chmod(0o777)
    done = user.netemu("up", plain)
    assert (done.returncode, "can be written by everybody" in done.stderr) == (4, True)
    assert not state_folder(user.netemu("doctor", "--json"))["there"]
    user.folder.chmod(0o700)
    (user.folder / "netemu").mkdir(mode=0o755)
    os.chown(user.folder / "netemu", user.uid, user.uid)
    done = user.netemu("up", plain)
    assert (done.returncode, f"chmod 700 {user.folder}/netemu" in done.stderr) == (4, True)
    assert state_folder(user.netemu("doctor", "--json"))["remedy"] == f"chmod 700 {user.folder}/netemu"


def test_a_user_without_a_runtime_folder_has_labs_in_its_home(user, plain):
    user.environment.pop("XDG_RUNTIME_DIR")
    home = user.folder / ("long" * 30)
    home.mkdir()
    os.chown(home, user.uid, user.uid)
    user.environment["HOME"] = str(home)
    assert user.netemu("up", plain).returncode == 0
    assert (home / ".local/state/netemu/plain").is_symlink()
    assert user.netemu("exec", "plain", "A", "--", "true").returncode == 0
    assert user.netemu("down", "plain").returncode == 0


def test_a_home_that_may_not_be_written_is_refused_by_every_command_alike(user, plain):
    user.environment.pop("XDG_RUNTIME_DIR")
    user.environment["HOME"] = str(user.folder)
    state = user.folder / ".local/state"
    state.mkdir(parents=True)
    for folder in (state.parent, state):
        os.chown(folder, user.uid, user.uid)
    state.chmod(0o500)
    for command in (["up", plain], ["ls"], ["down", "plain"], ["wipe"]):
        done = user.netemu(*command)
        assert (done.returncode, f"{state} can't be written" in done.stderr) == (4, True), done.stderr


def forbidden(user: OrdinaryUser, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        "/run/environment/bin/python",
        "-c",
        FORBIDDEN,
        "/run/environment/bin/python",
        "-m",
        "netemu",
        *arguments,
    ]
    return subprocess.run(
        command, env=user.environment, cwd="/", capture_output=True, text=True, timeout=240, check=False
    )


@pytest.mark.parametrize("command", ["run", "up"])
def test_where_user_namespaces_are_forbidden_the_sysctl_is_named(user, command):
    done = forbidden(user, command, "nodeport")
    assert done.returncode == 4, done.stderr
    assert "user.max_user_namespaces forbids them to ordinary users: sudo sysctl -w user.max_user_namespaces=" in (
        done.stderr
    )
    assert "Traceback" not in done.stderr


def test_doctor_names_the_sysctl_that_forbids_user_namespaces(user):
    done = forbidden(user, "doctor", "--json")
    told = {feature["name"]: feature for feature in json.loads(done.stdout)["features"]}
    assert done.returncode == 4
    users = told["user namespaces"]
    assert (users["there"], users["needed"]) == (False, True)
    assert users["remedy"].startswith("sudo sysctl -w user.max_user_namespaces=")
    assert (told["nf_tables"]["tried"], told["nf_tables"]["detail"]) == (False, "needs root or a user namespace")


def test_an_ordinary_user_finds_roots_programs_on_its_hosts(user, plain):
    """Debian's own PATH for users has no sbin; on a host they are root."""
    assert user.netemu("up", plain).returncode == 0
    user.environment["PATH"] = "/usr/local/bin:/usr/bin:/bin"
    done = user.netemu("exec", "plain", "A", "--", "sysctl", "-n", "net.ipv4.ip_forward")
    assert user.netemu("down", "plain").returncode == 0
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr


NONE_LEFT = 'echo 0 > /proc/sys/user/max_net_namespaces; exec "$@"'


def test_doctor_blames_no_kernel_for_what_it_could_not_try():
    """In a user namespace of our own whose own sysctl allows no network namespaces."""
    command = ["unshare", "-U", "-r", "-n", "-m", "sh", "-c", NONE_LEFT, "sh", sys.executable, "-m", "netemu", "doctor"]
    as_json = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    in_words = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (as_json.returncode, in_words.returncode) == (4, 4), as_json.stderr
    told = {feature["name"]: feature for feature in json.loads(as_json.stdout)["features"]}
    spaces = told["network namespaces"]
    assert (spaces["there"], spaces["tried"], "user.max_net_namespaces" in spaces["detail"]) == (False, True, True)
    assert {told[name]["tried"] for name in ("nf_tables", "veth", "overlay", "nft trace events")} == {False}
    assert "modprobe" not in "".join(feature["remedy"] for feature in told.values())
    assert re.search(r"(?m)^untried  veth +there is no network namespace to try it in$", in_words.stdout)


def test_an_ordinary_users_host_writes_its_own_sysctls_alone(user, plain):
    assert user.netemu("up", plain).returncode == 0
    script = "echo 1 > /proc/sys/net/ipv4/ip_forward; grep ' /proc/sys ' /proc/mounts"
    done = user.netemu("exec", "plain", "A", "--", "sh", "-ec", script)
    assert user.netemu("down", "plain").returncode == 0
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[3].split(",")[0] == "ro"
