"""The user namespace in which an ordinary user's labs live: root inside, that user to everybody outside.

Entering it changes the calling process for good. Its own network is then an empty one of its own, too: a process that
has stepped into a host's network may not step back into one that belongs to the machine (setns(2)).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from pathlib import Path
from typing import Literal

from netemu.errors import PrivilegeError
from netemu.kernel.spaces.forking import fork
from netemu.kernel.spaces.loopback import loopback_up
from netemu.kernel.spaces.subordinate import Mapper, why_alone
from netemu.kernel.spaces.syscalls import CLONE_NEWNET, CLONE_NEWUSER, setns, unshare

_OWN = "/proc/self/ns/user"
_NS_GET_USERNS = 0xB701
_PR_SET_DUMPABLE = 4
_NOBODY = 65534
_CAPABILITIES = 1 << 12 | 1 << 21
"""CAP_NET_ADMIN and CAP_SYS_ADMIN."""
_SWITCHES = (
    ("kernel.unprivileged_userns_clone", "0", "1"),
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
    ("user.max_user_namespaces", "0", "15000"),
)
"""Sysctls that keep ordinary users from making user namespaces: name, the value that does, one that does not."""


def enter_user_namespace() -> bool:
    """Let a process that is not root make labs: give it a user namespace, and a network, of its own.

    Does nothing where the process may do all that already; tells whether it has entered one. It must have no threads
    yet (unshare(2)). Raises PrivilegeError that names what forbids it.
    """
    entered = not _capable()
    if entered:
        _unshare_user()
    if not _owns_network():
        try:
            unshare(CLONE_NEWNET)
        except OSError as error:
            raise PrivilegeError(f"no network namespace can be made: {error.strerror}: run it with sudo") from error
        loopback_up()
    return entered


def outside_user() -> int:
    """This process's user, as who is outside of its user namespace numbers it."""
    own = os.geteuid()
    for line in Path("/proc/self/uid_map").read_text(encoding="utf-8").splitlines():
        inside, outside, count = map(int, line.split())
        if inside <= own < inside + count:
            return outside + own - inside
    return own


def mapped_ids(kind: Literal["uid", "gid"]) -> list[range]:
    """The numbers of users or groups that there are in this process's user namespace."""
    lines = Path(f"/proc/self/{kind}_map").read_text(encoding="utf-8").splitlines()
    return [range(int(first), int(first) + int(count)) for first, _, count in map(str.split, lines)]


def no_other_users() -> str:
    """Why a user may be missing in this user namespace, and what brings it."""
    why, remedy = why_alone(outside_user())
    return f"labs without root have users beside root only by subordinate ids, and {why}: {remedy}"


def user_namespace() -> int:
    """A descriptor of the user namespace that this process is in."""
    return os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)


def join_user_namespace(fd: int) -> None:
    """Move this process, which must have no threads, into a user namespace, if it is not there already."""
    there, here = os.fstat(fd), os.stat(_OWN)
    if (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino):
        try:
            setns(fd, CLONE_NEWUSER)
        except OSError as error:
            raise PrivilegeError(f"the lab's user namespace can't be entered: {error.strerror}") from error


def ordinary_users_may() -> str:
    """Have an ordinary user (nobody, where this process is root) make a user namespace; how it went.

    Raises PrivilegeError that names what forbids it.
    """
    child = fork()
    if child == 0:
        code = errno.EIO
        try:
            _be_nobody()
            _unshare_user()
            code = 0
        except PrivilegeError as error:
            code = getattr(error.__cause__, "errno", None) or code
        finally:
            os._exit(code)
    if code := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise _forbidden(OSError(code, os.strerror(code)))
    return "ordinary users may make them"


def forbidden_by() -> tuple[str, str] | None:
    """The sysctl that keeps ordinary users from making user namespaces, and a value that would not; None if none."""
    for name, bad, good in _SWITCHES:
        try:
            value = Path("/proc/sys/" + name.replace(".", "/")).read_text(encoding="utf-8").strip()
        except OSError:
            continue  # this kernel has no such switch
        if value == bad:
            return name, good
    return None


def _capable() -> bool:
    """Whether this process is root in its user namespace, as far as labs need it."""
    lines = Path("/proc/thread-self/status").read_text(encoding="utf-8", errors="replace").splitlines()
    held = next(line.split()[1] for line in lines if line.startswith("CapEff"))
    return int(held, 16) & _CAPABILITIES == _CAPABILITIES


def _owns_network() -> bool:
    """Whether the network that this process is in belongs to its user namespace, or to one inside that."""
    net = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.close(fcntl.ioctl(net, _NS_GET_USERNS))
    except PermissionError:
        return False  # its owner lies outside
    finally:
        os.close(net)
    return True


def _unshare_user() -> None:
    """A user namespace in which this user is root, and its subordinate ids, if it has some, are other users."""
    uid, gid = os.geteuid(), os.getegid()
    _end_idle_threads()
    with Mapper(uid, gid) as mapper:
        try:
            unshare(CLONE_NEWUSER)
            mapper.map()
            if not _read("gid_map"):
                _write("setgroups", "deny")
                _write("gid_map", f"0 {gid} 1")
            if not _read("uid_map"):
                _write("uid_map", f"0 {uid} 1")
        except OSError as error:
            raise _forbidden(error) from error


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))


def _end_idle_threads() -> None:
    """Fork: numpy's OpenBLAS starts threads when it is imported, and ends them whenever its process forks."""
    if _threads() > 1:
        if (child := fork()) == 0:
            os._exit(0)
        os.waitpid(child, 0)


def _read(name: str) -> str:
    return Path(f"/proc/self/{name}").read_text(encoding="utf-8").strip()


def _write(name: str, text: str) -> None:
    with open(f"/proc/self/{name}", "w", encoding="utf-8") as file:
        file.write(text)


def _forbidden(error: OSError) -> PrivilegeError:
    need = "without root, labs need a user namespace, and"
    if (found := forbidden_by()) is not None:
        name, good = found
        return PrivilegeError(f"{need} {name} forbids them to ordinary users: sudo sysctl -w {name}={good}")
    if error.errno == errno.EINVAL and _threads() > 1:
        return PrivilegeError(
            f"{need} a process that has threads can't enter one: call netemu.enter_user_namespace() before it starts"
            " any, or start it all with: unshare -Ur COMMAND"
        )
    if error.errno == errno.ENOSPC:
        return PrivilegeError(f"{need} there are too many: raise user.max_user_namespaces, or run it with sudo")
    said = (error.strerror or "refused").lower()
    return PrivilegeError(f"{need} this kernel or container has none for ordinary users ({said}): run it with sudo")


def _be_nobody() -> None:
    """Of root make nobody; others, and root of a namespace that has nobody else, stay who they are."""
    try:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    except OSError:
        return
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1)  # or /proc/self would be root's still
