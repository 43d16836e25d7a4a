"""Files placed where a host's processes find them, the machine's own left as they are.

A file that exists is covered by a bind mount. A new one needs a folder that is the host's own: the nearest one that
exists is overlaid (overlayfs), and what is written there afterwards is the host's own as well. Where that is /, the
host gets a root folder of its own, with everything of the machine's bound into it.
"""

from __future__ import annotations

import errno
import os
import stat

from .calls import MS_BIND, MS_REC, mount, pivot_root, unmount_detached
from .mounts import Covering, is_below, mounted_below

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def place_files(files: Sequence[Sequence[str]], kept: str, own: Sequence[str] = ()) -> None:
    """Place all files: for each where its content is, with its mode, and where it is to be.

    `kept` is a path free for a folder in which what the host writes is kept; `own` are its own folders.

    Raises OSError that names what can't be had.
    """
    wanted = [(source, os.path.realpath(target)) for source, target in files]
    new = [(source, target) for source, target in wanted if not os.path.exists(target)]
    _make_all_own({_nearest_folder(target) for _, target in new}, kept, own)
    for source, target in wanted:
        if (source, target) in new:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            _copy(source, target)
        elif os.path.isdir(target):
            raise OSError(errno.EISDIR, f"{target} is a folder: a file can't be placed over it")
        else:
            mount(source, target, flags=MS_BIND)


def own_folders(folders: Sequence[str], kept: str, lab: str) -> None:
    """Give the host folders of its own, in memory and empty, whatever the machine has there.

    `kept` is as for `place_files`; the folder `lab`, where services run, stays in sight. Raises OSError.
    """
    places = [os.path.realpath(folder) for folder in folders]
    new = [place for place in places if not os.path.isdir(place)]
    _make_all_own({_nearest_folder(place) for place in new}, kept)
    for place in new:
        os.makedirs(place)
        os.chmod(place, 0o1777)  # noqa: S103  whoever the host's programs run as, as Docker has it
    for folder in places:
        here, seen = os.stat(folder), os.open(lab, os.O_PATH)
        try:
            _tmpfs(folder, here)
            if is_below(lab, folder):
                os.makedirs(lab, mode=0o700)
                mount(f"/proc/self/fd/{seen}", lab, flags=MS_BIND | MS_REC)
        finally:
            os.close(seen)


def _make_all_own(folders: Iterable[str], kept: str, own: Sequence[str] = ()) -> None:
    """Make folders the host's own, each once, though others lie in it; what is in `own` is that already."""
    done = [os.path.realpath(folder) for folder in own]
    for number, folder in enumerate(sorted(folders), 1):
        if folder not in done and not any(_reaches(other, folder) for other in done):
            done.append(folder)
            _make_own(folder, f"{kept}.{number}")


def _tmpfs(folder: str, like: os.stat_result) -> None:
    mode = f"mode={stat.S_IMODE(like.st_mode):o}"
    try:
        mount("tmpfs", folder, "tmpfs", options=f"{mode},uid={like.st_uid},gid={like.st_gid}")
    except OSError as error:
        if error.errno != errno.EINVAL:  # whose it is has no number in the user namespace of an ordinary user's lab
            raise
        mount("tmpfs", folder, "tmpfs", options=mode)


def cover_name(source: str, name: str) -> None:
    """Lay a file over a name itself, be it a symlink: what that leads to stays as it is. Raises OSError."""
    there = os.open(name, os.O_PATH | os.O_NOFOLLOW)
    try:
        mount(source, f"/proc/self/fd/{there}", flags=MS_BIND)
    finally:
        os.close(there)


def _nearest_folder(target: str) -> str:
    folder = os.path.dirname(target)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return folder


def _reaches(folder: str, other: str) -> bool:
    """Whether what was laid over `folder` is there in `other` too: no mount point lies between."""
    between = mounted_below(folder)
    return is_below(other, folder) and not any(other == point or is_below(other, point) for point in between)


def _make_own(folder: str, kept: str) -> None:
    os.mkdir(kept, 0o700)
    try:
        if folder == "/":
            _own_root(kept)
        else:
            try:
                _overlay(folder, kept)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                _rebuild(folder, kept)
    except OSError as error:
        why = "this kernel has no overlayfs" if error.errno == errno.ENODEV else os.strerror(error.errno or 0)
        raise OSError(error.errno, f"the host can't have a {folder} of its own, for new files there: {why}") from error


def _overlay(folder: str, kept: str) -> None:
    """Lay a folder over one that exists, by the name `.`: a comma or colon in its own would mean something."""
    here = os.stat(folder)
    for name in ("upper", "work"):
        os.mkdir(f"{kept}/{name}")
    try:
        os.chown(f"{kept}/upper", here.st_uid, here.st_gid)
    except OSError as error:
        if error.errno != errno.EINVAL:  # whose it is has no number in the user namespace of an ordinary user's lab
            raise
    os.chmod(f"{kept}/upper", stat.S_IMODE(here.st_mode))
    os.chdir(folder)
    with Covering(folder, also=os.path.dirname(kept)):  # where services run, and where others look for their sockets
        mount("overlay", folder, "overlay", options=f"lowerdir=.,upperdir={kept}/upper,workdir={kept}/work")
    os.chdir("/")


def _rebuild(folder: str, kept: str) -> None:
    """Cover a folder that can't be overlaid: one with mounts below it in an ordinary user's namespace, for one.

    There they are locked (mount_namespaces(7)), and overlayfs takes no folder that has such mounts below.
    """
    os.chdir("/")
    _fill(folder, kept)
    mount(kept, folder, flags=MS_BIND | MS_REC)


def _own_root(kept: str) -> None:
    """A root folder in memory, with all that is in the old one bound into it (pivot_root(2))."""
    _fill("/", kept)
    os.chdir(kept)
    pivot_root(".", ".")
    unmount_detached(".")
    os.chdir("/")


def _fill(folder: str, kept: str) -> None:
    """A folder in memory at `kept`, with all that is in another one bound into it."""
    mount("tmpfs", kept, "tmpfs", options=f"mode={stat.S_IMODE(os.stat(folder).st_mode):o}")
    with os.scandir(folder) as entries:
        for entry in entries:
            there = f"{kept}/{entry.name}"
            if entry.is_symlink():
                os.symlink(os.readlink(entry.path), there)
            elif entry.is_dir():
                os.mkdir(there)
                mount(entry.path, there, flags=MS_BIND | MS_REC)
            else:
                os.close(os.open(there, os.O_CREAT, 0o600))
                mount(entry.path, there, flags=MS_BIND)


def _copy(source: str, target: str) -> None:
    with open(source, "rb") as content:
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(fd, "wb") as file:
            while part := content.read(1 << 20):
                file.write(part)
            os.fchmod(fd, stat.S_IMODE(os.fstat(content.fileno()).st_mode))
