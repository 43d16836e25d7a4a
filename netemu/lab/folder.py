"""The private folders that labs keep things in, and the names of labs that are up.

Every lab has a folder of its own, mode 0700, with an unpredictable name, under /run/netemu or, without root, in its
user's own place for such things; a lab that is up has a symlink to it by the lab's name. The folder's `alive` file is
locked as long as its lab lives: the kernel drops the lock with the process, so a name whose lock is free is dead,
whatever its process number has become since. Its `names` file lists the names outside the folder that the lab was about
to make, so that leftovers.py can tell them by it. Whoever makes, claims or removes any of this holds the base folder's
lock.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from netemu.errors import MachineError, PrivilegeError, UsageError
from netemu.kernel.spaces.userspace import outside_user

if TYPE_CHECKING:
    from netemu.kernel.processes.pidspace import PidSpace

BASE = Path("/run/netemu")
"""Where root's labs are."""
NETNS = Path("/run/netns")
"""Where `ip netns` looks for names."""
_ENTER = stat.S_IWUSR | stat.S_IXUSR
PREFIX = ".lab-"
ALIVE, NAMES, SOCKET = "alive", "names", "control"
_COMMANDS = " up"
_LOCK = ".lock"


def base() -> Path:
    """The folder that this user's labs are in: root's; or the user's, in $XDG_RUNTIME_DIR as a rule.

    Raises PrivilegeError if the user has no private place.
    """
    if os.geteuid() == 0 and os.access(BASE.parent, os.W_OK):
        return BASE
    home = os.environ.get("XDG_STATE_HOME") or os.path.join(os.environ.get("HOME") or "/", ".local/state")
    own = f"/run/user/{outside_user()}"
    refused = []
    for name, place in (("XDG_RUNTIME_DIR=", os.environ.get("XDG_RUNTIME_DIR")), ("", own), ("", home)):
        if not place:
            refused.append(f"{name} is not set")
        elif why := _unfit(Path(place)):
            refused.append(f"{name}{place} {why}")
        else:
            return Path(place) / "netemu"
    above = next((path for path in Path(home).parents if os.path.exists(path)), None)  # False where nobody may look
    if above is not None and not os.path.exists(home) and not _unfit(above):
        Path(home).mkdir(parents=True, mode=0o700)
        return Path(home) / "netemu"
    raise PrivilegeError(
        f"without root, labs need a private folder of yours, and there is none ({', '.join(refused)}): set"
        f" XDG_RUNTIME_DIR to one, or make one: sudo install -d -m 700 -o {outside_user()} {own}"
    )


def passed_over() -> str:
    """Why this user's labs are not where they would be looked for first; empty if they are."""
    place = os.environ.get("XDG_RUNTIME_DIR")
    if base() in (BASE, Path(place or "/") / "netemu"):
        return ""
    return f"XDG_RUNTIME_DIR={place} {_unfit(Path(place))}" if place else "XDG_RUNTIME_DIR is not set"


def require_private(path: Path) -> None:
    """Raise PrivilegeError if this is anything but a folder of this user's alone."""
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise PrivilegeError(f"labs need {path} to be a folder of yours, and it is not: move it away")
    if found.st_mode & 0o077:
        raise PrivilegeError(f"labs need {path} to be yours alone, and its mode is not 0700: chmod 700 {path}")


def _unfit(path: Path) -> str:
    """What keeps a folder from being this user's, to have a private one in; empty if nothing does."""
    try:
        if not path.is_absolute():
            return "is no absolute path"
        found = path.stat()
    except FileNotFoundError:
        return "is not there"
    except OSError as error:
        return f"can't be looked at ({error.strerror})"
    if not stat.S_ISDIR(found.st_mode):
        return "is no folder"
    if found.st_uid != os.geteuid():
        return "is not yours"
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        return "can be written by everybody"  # who could put a folder of their own in ours' place
    if found.st_mode & _ENTER == _ENTER and os.access(path, os.W_OK | os.X_OK):
        return ""  # the latter alone would be true of root in a user namespace, where labs are held
    return "can't be written"


class LabFolder:
    """One lab's folder; `close` removes it, and so does process 1 of the lab's PID namespace when the lab is gone."""

    by_command = False
    """Whether this process is there for its lab alone, as `netemu up` makes one: then others may end it."""

    def __init__(self, pids: PidSpace) -> None:
        _ensure_base()
        self._pids = pids
        self.name: Path | None = None
        with base_locked():
            self.path = _unused()
            pids.remove_after(folder=self.path)  # told before it is there: a kill in between leaves nothing
            self.path.mkdir(mode=0o700)
            self._alive = os.open(self.path / ALIVE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._alive, fcntl.LOCK_EX)
            os.write(self._alive, f"{os.getpid()}{_COMMANDS if self.by_command else ''}".encode())

    def claim(self, name: str) -> Path:
        """Take a lab's name; the symlink. Raises UsageError if a lab of that name is up."""
        link = base() / name
        with base_locked():
            if is_alive(name):
                state = "is coming up already, or going down" if is_on_its_way(name) else "is up already"
                raise UsageError(f"lab {name} {state}: netemu down {name} ends it")
            if os.path.lexists(link) and not link.is_symlink():
                raise MachineError(f"{link} is in the way, and no lab made it: move it away")
            link.unlink(missing_ok=True)
            self._pids.remove_after(link=link, target=str(self.path))
            link.symlink_to(self.path)
        self.name = link
        return link

    def note_names(self, names: Iterable[tuple[Path, str]]) -> None:
        """Write down the symlinks outside this folder, and their targets, that the lab is about to make."""
        lines = [json.dumps({"link": str(link), "target": target}) + "\n" for link, target in names]
        with (self.path / NAMES).open("a", encoding="utf-8") as file:
            file.writelines(lines)

    def close(self) -> None:
        """Give all names back and remove the folder; once is enough, twice does no harm."""
        if self._alive < 0:
            return
        for link in noted_names(self.path):  # process 1 removes them, unless somebody killed it
            link.unlink(missing_ok=True)
        with base_locked():
            if self.name is not None and os.path.lexists(self.name) and os.readlink(self.name) == str(self.path):
                self.name.unlink()
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._alive)
        self._alive = -1


def noted_names(folder: Path) -> Iterator[Path]:
    """The symlinks that the lab of this state folder made for `ip netns`, as far as they are still what it made."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        for line in (folder / NAMES).read_text(encoding="utf-8").splitlines():
            noted = json.loads(line)
            link = Path(noted["link"])
            if link.parent == NETNS and is_owned(link) and link.is_symlink() and os.readlink(link) == noted["target"]:
                yield link


def is_owned(path: Path) -> bool:
    """Whether something, were it a symlink, is this user's; False if it is not there."""
    try:
        return path.lstat().st_uid == os.geteuid()
    except FileNotFoundError:
        return False


def _unused() -> Path:
    """A path that nothing has, for whoever holds the base folder's lock."""
    while (path := base() / f"{PREFIX}{secrets.token_hex(4)}").exists():
        pass
    return path


def holder_of(link: Path) -> str:
    """What has a name for `ip netns`, in words: a lab that is up, a namespace that is no lab's, or nothing any more."""
    for name in names_up():
        if link in noted_names(base() / name):
            return f"lab {name}'s"
    if link.is_symlink() and not link.exists():
        return "a dead lab's: netemu wipe"
    return "another namespace's, which no lab made"


def names_up() -> list[str]:
    """The names of the labs that are up, sorted."""
    try:
        found = [entry.name for entry in base().iterdir() if entry.is_symlink()]
    except FileNotFoundError:
        return []
    except PermissionError as error:
        raise PrivilegeError(f"{base()} is not yours to read: run it with sudo") from error
    return sorted(name for name in found if is_alive(name))


def is_alive(name: str) -> bool:
    """Whether a lab of that name is up: whether its `alive` file is locked."""
    try:
        fd = os.open(base() / name / ALIVE, os.O_RDWR | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError as error:
        raise PrivilegeError(f"{base()} is not yours to read: run it with sudo") from error
    return is_locked(fd)


def is_locked(fd: int, lock: int = fcntl.LOCK_SH) -> bool:
    """Whether another process's lock keeps us from ours of what is open there, which is closed.

    Those who only look take a shared one, so that they don't see each other.
    """
    try:
        fcntl.flock(fd, lock | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


class Holder(NamedTuple):
    """The process that holds a lab: a pidfd, and whether it is there for its lab alone, as `netemu up` makes one."""

    pidfd: int
    by_command: bool


def holder(name: str) -> Holder | None:
    """Who holds the lab of that name, up or on its way; None if that is not certain."""
    try:
        number, by_command = _written(name)
        pidfd = os.pidfd_open(number)
    except (OSError, ValueError):
        return None
    with suppress(OSError):
        alive = (base() / name / ALIVE).stat()
        for entry in os.listdir(f"/proc/{number}/fd"):
            if os.path.samestat(alive, os.stat(f"/proc/{number}/fd/{entry}")):
                return Holder(pidfd, by_command)
    os.close(pidfd)
    return None


def is_on_its_way(name: str) -> bool:
    """Whether the lab of that name is held by a command, and has nobody to ask: it is coming up, or going down."""
    try:
        return _written(name)[1] and not (base() / name / SOCKET).exists()
    except (OSError, ValueError):
        return False


def _written(name: str) -> tuple[int, bool]:
    """Whose number a lab's `alive` file tells, and whether that is a command's."""
    written = (base() / name / ALIVE).read_text(encoding="ascii")
    return int(written.removesuffix(_COMMANDS)), written.endswith(_COMMANDS)


def _ensure_base() -> None:
    """Make the base folder, or make sure that it is ours alone."""
    path = base()
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise MachineError(f"{path} can't be made: {error.strerror}") from error
    require_private(path)


@contextmanager
def base_locked() -> Iterator[None]:
    """Inside the `with` no other process makes, claims or removes what is in the base folder."""
    fd = os.open(base() / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
