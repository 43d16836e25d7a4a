"""This process moves into a host's place and runs one command there, as its child, with its terminal and signals."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

from netemu.kernel.spaces.forking import fork
from netemu.kernel.spaces.syscalls import CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUTS, die_with, setns
from netemu.kernel.spaces.userspace import join_user_namespace
from netemu.lab.asking import ask
from netemu.lab.searching import with_roots_programs
from netemu.lab.terminal import Terminal, has_terminal

NOT_FOUND, NOT_RUN = 127, 126
"""Exit codes of a shell for a command that is not there, and for one that can't be run (POSIX, XCU 2.8.2)."""
_PASSED_ON = {signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2}
_KINDS = (CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWUTS, CLONE_NEWNS)


def enter(lab: str, host: str) -> dict[str, str]:
    """Move this process, which must have no threads, into a host; the environment that its processes have."""
    answer, fds = ask(lab, {"do": "enter", "host": host}, descriptors=5)
    net, pids, user, uts, mnt = fds
    try:
        here = os.getcwd()
    except FileNotFoundError:
        here = "/"  # somebody removed it
    join_user_namespace(user)
    for fd, kind in zip((pids, net, uts, mnt), _KINDS, strict=True):
        setns(fd, kind)
    for fd in fds:
        os.close(fd)
    with contextlib.suppress(OSError):  # it has no such folder: / is where the mount namespace begins
        os.chdir(here)
    return dict(answer.get("environment", {}))


def run(host: str, command: Sequence[str], environment: Mapping[str, str], descriptors: Sequence[int] = ()) -> int:
    """Run a command as a child; its exit code, as a shell tells it. It gets `descriptors` beside its streams.

    `host`, which this process is on by now, is for what is said of a command that does not run: that is 126, or 127.
    On a terminal it has a terminal of its own, of the same size, for as long as it runs. It is killed if this process
    is; what it started itself goes on then, until the lab is down.
    """
    sys.stdout.flush()
    terminal = Terminal() if has_terminal() else None
    signal.pthread_sigmask(signal.SIG_BLOCK, {*_PASSED_ON, signal.SIGCHLD, signal.SIGWINCH})
    parent = os.pidfd_open(os.getpid())
    child = fork()
    if child == 0:
        die_with(parent)
        if terminal is not None:
            terminal.become_controlling()
        _become(host, command, environment, descriptors)
    os.close(parent)
    code = _until_ended(child) if terminal is None else terminal.until_ended(child, _PASSED_ON)
    return code if code >= 0 else 128 - code


def _until_ended(child: int) -> int:
    """Wait for the child's end. Signals of the terminal reach it as well as this process; others are passed on.

    Where it is stopped (Ctrl-Z), this process stops too, so that whoever started this one can go on.
    """
    while True:
        told = signal.sigwaitinfo({*_PASSED_ON, signal.SIGCHLD})
        if told.si_signo != signal.SIGCHLD:
            if told.si_code <= 0:  # sent by a process, not by the kernel for a terminal
                os.kill(child, told.si_signo)
            continue
        found, status = os.waitpid(child, os.WNOHANG | os.WUNTRACED)
        if found and os.WIFSTOPPED(status):
            os.kill(os.getpid(), signal.SIGSTOP)
            os.kill(child, signal.SIGCONT)
        elif found:
            return os.waitstatus_to_exitcode(status)


def _become(host: str, command: Sequence[str], environment: Mapping[str, str], descriptors: Sequence[int]) -> NoReturn:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # Python ignores some, and an exec would hand that on
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    for fd in descriptors:
        os.set_inheritable(fd, True)
    whole = {**with_roots_programs(os.environ), **environment}
    try:
        os.execvpe(command[0] or "/", list(command), whole)  # noqa: S606  no shell, as it should be
    except (OSError, ValueError) as error:
        code, why = _not_run(command[0], whole, error)
        os.write(2, f"netemu: host {host}: can't run {command[0] or repr('')}: {why}\n".encode(errors="replace"))
        os._exit(code)


def _not_run(program: str, environment: Mapping[str, str], error: OSError | ValueError) -> tuple[int, str]:
    """The exit code of a shell for a program that the kernel refused, and why it did."""
    why = getattr(error, "strerror", None) or str(error)
    if not program:
        return NOT_FOUND, "it has no name"
    if getattr(error, "errno", None) not in (errno.ENOENT, errno.ENOTDIR):
        return NOT_RUN, why
    there = shutil.which(program, path=environment.get("PATH", os.defpath))
    return NOT_FOUND, f"{there} names an interpreter that is not there" if there else why
