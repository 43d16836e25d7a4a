"""Forking where there can be no more processes."""

from __future__ import annotations

import errno
import os
import subprocess

import pytest

from netemu import Lab
from netemu.errors import MachineError
from netemu.kernel.spaces.forking import fork


def test_a_child_is_a_child():
    if (child := fork()) == 0:
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.EAGAIN, r"the limit of processes is reached: raise it \(ulimit -u, or pids.max\)"),
        (errno.ENOMEM, "out of memory: no process can be started"),
    ],
)
def test_the_limit_that_keeps_from_it_is_named(monkeypatch, number: int, says: str):
    def refused() -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fork", refused)
    with pytest.raises(MachineError, match=says):
        fork()


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM])
@pytest.mark.parametrize("backend", ["nft", "legacy"])
async def test_a_tool_that_can_not_be_started_as_a_record_ends_is_told_as_that_limit(monkeypatch, number, backend):
    rules = {"A": {"iptables": "*filter\n-A INPUT -j ACCEPT\nCOMMIT\n"}}
    async with Lab({"name": "limit", "backend": backend, "hosts": rules}, record=True) as lab:
        with pytest.raises(MachineError, match=r"of processes|no process can be started"):
            async with lab.record():
                monkeypatch.setattr(subprocess, "Popen", refusing(number))
        monkeypatch.undo()


def refusing(number: int):
    def refused(*_arguments: object, **_options: object):
        raise OSError(number, os.strerror(number))

    return refused
