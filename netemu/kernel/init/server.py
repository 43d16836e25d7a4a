"""Requests of the lab answered, ends of its processes reported; once the lab is gone, what it left is removed.

A lab waits for this program where it is small: what makes places and starts processes is imported when one is wanted.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal imports enum, which takes as long as all that is here
import _socket
import os
import resource
import select

from .message import failure, pack, receive, send, unpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LONGEST = 1 << 18
_HELPER_KILLED: dict[str, Any] = {"error": "the helper that makes it was killed", "doing": "place", "errno": None}


class Server:
    """Process 1: one loop, one thread."""

    def __init__(self, lab: _socket.socket) -> None:
        self.lab = lab
        self.places: dict[str, list[int]] = {}
        self.said: dict[str, list[str]] = {}
        self.children: dict[int, int] = {}
        self.stopping: set[int] = set()
        self.held: dict[int, dict[str, Any]] = {}
        self.reports: dict[int, tuple[int, dict[str, Any], int]] = {}
        self.left: list[dict[str, str]] = []
        self.poll = select.poll()
        self.limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (self.limits[1], self.limits[1]))  # three for each host's place

    def serve(self) -> None:
        """Answer until the lab is gone."""
        woken, wakes = os.pipe()
        for fd in (woken, wakes):
            os.set_blocking(fd, False)
        _signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        _signal.signal(_signal.SIGCHLD, lambda *_: None)
        for fd in (self.lab.fileno(), woken):
            self.poll.register(fd, select.POLLIN)
        try:
            while self._turn(woken):
                pass
        except ConnectionError:
            self._hear_out()

    def _turn(self, woken: int) -> bool:
        """Wait for something to do, and do it; whether the lab is there still."""
        for fd, _ in self.poll.poll():
            if fd == self.lab.fileno():
                if not self._receive():
                    return False
            elif fd == woken:
                try:
                    os.read(woken, 4096)
                except BlockingIOError:
                    pass
                self._reap()
            elif fd in self.reports:
                self._report(fd)
        return True

    def _hear_out(self) -> None:
        """Read what the lab had still said when it went: of that, only what is to be removed matters."""
        while True:
            try:
                data, fds = receive(self.lab)
            except ConnectionError:
                continue  # told once, before what is there to be read: the lab had not read all of ours (net/unix)
            for fd in fds:
                os.close(fd)
            if not data:
                return
            request = unpack(data)
            if request.get("do") == "remove":
                self.left.append(request)

    def _receive(self) -> bool:
        data, fds = receive(self.lab)
        if not data:
            return False
        request = unpack(data)
        if "long" in request:
            with os.fdopen(fds.pop(0), "rb") as file:
                file.seek(0)
                request = unpack(file.read())
        try:
            match request["do"]:
                case "remove":
                    self.left.append(request)
                case "place":
                    self._place(request, fds)
                case "enter":
                    self._answer(request["id"], {}, self.places[request["host"]])
                case "start":
                    self._start(request, fds)
                case "signal":
                    self._signal(request)
        except OSError as error:
            self._answer(request["id"], unpack(failure(error, "start")))
        finally:
            for fd in fds:
                os.close(fd)
        return True

    def _place(self, request: dict[str, Any], fds: list[int]) -> None:
        """A helper makes the namespaces and sends their descriptors: this process stays where it is.

        A place is made once: who asks again, having been cancelled before, is told what was said of it.
        """
        host = request["host"]
        if host in self.said:
            self._answer(request["id"], {"said": self.said[host]})
            return
        for _, making, pidfd in self.reports.values():
            if pidfd < 0 and making["host"] == host:
                making["ids"].append(request["id"])
                return
        from . import place

        request["ids"] = [request["id"]]
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        child = os.fork()
        if child == 0:
            place.furnish(request, fds[0], theirs)
        theirs.close()
        self.places[host] = [os.dup(fds[0])]
        report = ours.detach()
        self.reports[report] = (child, request, -1)
        self.poll.register(report, select.POLLIN)

    def _start(self, request: dict[str, Any], fds: list[int]) -> None:
        """The child tells what went wrong over a pipe; the pipe's end without a word says that its program runs."""
        from . import spawn

        place_ = self.places[request["host"]] if request["host"] is not None else []
        report, tell = os.pipe()
        child = os.fork()
        if child == 0:
            spawn.become(request, place_, fds, tell, self.limits)
        os.close(tell)
        try:
            self.reports[report] = (child, request, os.pidfd_open(child))
        except OSError:
            os.close(report)
            os.kill(child, _signal.SIGKILL)
            raise
        self.children[child] = request["id"]
        self.poll.register(report, select.POLLIN)

    def _report(self, report: int) -> None:
        child, request, pidfd = self.reports.pop(report)
        self.poll.unregister(report)
        try:
            if pidfd >= 0:
                self._started(child, request, pidfd, os.read(report, _LONGEST))
            else:
                self._furnished(request, report)
        finally:
            os.close(report)

    def _started(self, child: int, request: dict[str, Any], pidfd: int, trouble: bytes) -> None:
        try:
            if trouble:
                self.children.pop(child, None)
                self._answer(request["id"], unpack(trouble))
            else:
                self._answer(request["id"], {}, [pidfd])
        finally:
            os.close(pidfd)

    def _furnished(self, request: dict[str, Any], report: int) -> None:
        ours = _socket.socket(fileno=os.dup(report))
        try:
            data, fds = receive(ours)
        finally:
            ours.close()
        answer = unpack(data) if data else _HELPER_KILLED
        if fds:
            self.places[request["host"]] += fds
            self.said[request["host"]] = answer["said"]
        else:
            for fd in self.places.pop(request["host"]):
                os.close(fd)
        for number in request["ids"]:
            self._answer(number, answer)

    def _reap(self) -> None:
        """Collect every child and orphan that has ended; one whose start is not yet told is told of afterwards.

        Of one that was stopped the end is told once nothing of its process group is left, which is killed now.
        """
        while (found := _ended()) is not None:
            child = found.si_pid
            self._finish(child)
            stopped = child in self.stopping
            if stopped:
                _killpg(child, _signal.SIGKILL)  # not collected yet: the group's number is still its own
            _, status = os.waitpid(child, 0)
            if (number := self.children.pop(child, None)) is not None:
                self.held[child] = {"ended": number, "code": os.waitstatus_to_exitcode(status)}
                if not stopped:
                    self._send(self.held.pop(child))
        for child in list(self.held):
            if not _killpg(child, 0):
                self.stopping.discard(child)
                self._send(self.held.pop(child))

    def _finish(self, child: int) -> None:
        """Tell how a child's start went, if that is not told yet."""
        for fd, (other, _, _) in list(self.reports.items()):
            if other == child:
                self._report(fd)

    def _signal(self, request: dict[str, Any]) -> None:
        for child, number in self.children.items():
            if number == request["id"]:
                if request["stop"]:
                    self.stopping.add(child)
                if request["group"]:
                    _killpg(child, request["number"])
                else:
                    os.kill(child, request["number"])  # not collected, or it would not be among the children
        if request["number"] == _signal.SIGKILL:
            for child, message in list(self.held.items()):
                if message["ended"] == request["id"]:  # who asks has waited for somebody to collect the rest
                    self.stopping.discard(child)
                    self._send(self.held.pop(child))

    def _answer(self, number: int, answer: dict[str, Any], fds: list[int] | None = None) -> None:
        self._send({"id": number, **answer}, fds)

    def _send(self, message: dict[str, Any], fds: list[int] | None = None) -> None:
        send(self.lab, pack(message), fds or [])


def _ended() -> os.waitid_result | None:
    """A child or orphan that has ended and is not collected."""
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None


def _killpg(group: int, number: int) -> bool:
    """Send a process group a signal; whether it has a process, be it one that nobody has collected."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def tidy(left: list[dict[str, str]]) -> None:
    """Remove what the lab left, as long as it is what the lab made."""
    for thing in reversed(left):
        try:
            if "folder" in thing:
                _remove_tree(thing["folder"])
            elif os.readlink(thing["link"]) == thing["target"]:
                os.unlink(thing["link"])
        except OSError:
            continue  # gone already, or not ours any more


def _remove_tree(folder: str) -> None:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                _remove_tree(entry.path)
            else:
                os.unlink(entry.path)
    os.rmdir(folder)


def main() -> None:
    """Serve the lab until it is gone; with this process the kernel ends every other one here."""
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)  # which for process 1 means: not to be had from within
    server = Server(_socket.socket(fileno=0))
    server.serve()
    _signal.signal(_signal.SIGCHLD, _signal.SIG_IGN)
    try:
        os.kill(-1, _signal.SIGKILL)
    except ProcessLookupError:
        pass  # nobody else is here
    tidy(server.left)
    os._exit(0)
