"""The control socket: every request answered by itself, whatever other peers do, and no peer can harm the lab."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from netemu import KernelError, Lab, NetemuError, Topology, UsageError
from netemu.lab import control, requests
from netemu.lab.asking import ask
from netemu.lab.control import ControlServer
from netemu.lab.folder import BASE, SOCKET
from netemu.lab.requests import Answer, Held
from netemu.topology.load import loads

ALONE = "name: alone\nhosts: {A: {}}\n"


@asynccontextmanager
async def served() -> AsyncIterator[Lab]:
    """A lab that is up by its name, and answers."""
    topology, _ = loads(ALONE)
    async with Lab(topology, named=True) as lab:
        assert lab.folder is not None
        server = ControlServer(Held(lab, {"lab": "alone", "pid": os.getpid()}), lab.folder.path)
        serving = asyncio.create_task(server.serve())
        try:
            yield lab
        finally:
            server._asked_down.set()
            for peer in await serving:
                peer.close()


def connected() -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(10)
    sock.connect(str(BASE / "alone" / SOCKET))
    return sock


def talk(sent: bytes) -> bytes:
    """Send raw bytes; all that comes back until the other side closes."""
    with connected() as sock:
        sock.sendall(sent)
        sock.shutdown(socket.SHUT_WR)
        got = b""
        while piece := sock.recv(65536):
            got += piece
        return got


async def test_a_host_can_be_entered_by_the_descriptors_that_come_with_the_answer():
    async with served() as lab:
        answer, fds = await asyncio.to_thread(ask, "alone", {"do": "enter", "host": "A"}, 5)
        try:
            lock = str(lab["A"].folder / "xtables.lock")
            assert answer == {"environment": {"XTABLES_LOCKFILE": lock}, "remarks": []}
            assert len(fds) == 5
            assert [os.stat(fd).st_ino for fd in fds[:2]] == [
                os.stat(fd).st_ino for fd in (lab["A"].net.fd, lab["A"].pids.fd)
            ]
            assert not any(os.get_inheritable(fd) for fd in fds)
        finally:
            for fd in fds:
                os.close(fd)


async def test_the_topology_comes_back_as_it_was():
    async with served() as lab:
        answer, _ = await asyncio.to_thread(ask, "alone", {"do": "topology"})
        assert Topology.model_validate(answer["topology"]) == lab.topology


async def test_an_unknown_host_is_told_as_the_error_it_is():
    async with served():
        with pytest.raises(UsageError, match="lab alone has no host 'X': there is only A"):
            await asyncio.to_thread(ask, "alone", {"do": "enter", "host": "X"})


async def test_an_error_keeps_its_kind_and_so_its_exit_code(monkeypatch):
    async def refuse(held, request):
        raise KernelError("the kernel has no such thing")

    monkeypatch.setattr(control, "HANDLERS", requests.HANDLERS | {"refuse": refuse})
    async with served():
        with pytest.raises(KernelError, match="no such thing"):
            await asyncio.to_thread(ask, "alone", {"do": "refuse"})


async def test_a_request_that_stumbles_over_a_fault_of_ours_leaves_the_lab_up(monkeypatch):
    async def stumble(held, request):
        return 1 / 0

    monkeypatch.setattr(control, "HANDLERS", requests.HANDLERS | {"stumble": stumble})
    async with served():
        with pytest.raises(NetemuError, match="a fault of netemu's own: ZeroDivisionError"):
            await asyncio.to_thread(ask, "alone", {"do": "stumble"})
        assert (await asyncio.to_thread(ask, "alone", {"do": "facts"}))[0]["lab"] == "alone"


async def test_an_answer_may_be_longer_than_a_socket_holds(monkeypatch):
    async def long(held, request):
        return Answer({"text": "x" * 3_000_000})

    monkeypatch.setattr(control, "HANDLERS", requests.HANDLERS | {"long": long})
    async with served():
        assert len((await asyncio.to_thread(ask, "alone", {"do": "long"}))[0]["text"]) == 3_000_000


async def test_a_slow_request_keeps_no_other_waiting(monkeypatch):
    release = asyncio.Event()

    async def slow(held, request):
        await release.wait()
        return Answer({"slow": True})

    monkeypatch.setattr(control, "HANDLERS", requests.HANDLERS | {"slow": slow})
    async with served():
        waiting = asyncio.create_task(asyncio.to_thread(ask, "alone", {"do": "slow"}))
        silent = connected()
        assert (await asyncio.to_thread(ask, "alone", {"do": "facts"}))[0]["lab"] == "alone"
        assert not waiting.done()
        release.set()
        assert (await waiting)[0] == {"slow": True}
        silent.close()


async def test_more_peers_than_are_served_at_once_get_their_turn():
    async with served():
        silent = [connected() for _ in range(control.SIDE_BY_SIDE)]
        asking = asyncio.create_task(asyncio.to_thread(ask, "alone", {"do": "facts"}))
        for sock in silent:
            sock.close()
        assert (await asking)[0]["lab"] == "alone"


async def test_a_silent_peer_is_let_go(monkeypatch):
    monkeypatch.setattr(control, "REQUEST_WITHIN", 0.05)
    async with served():
        with connected() as silent:
            assert await asyncio.to_thread(silent.recv, 1) == b""


@pytest.mark.parametrize(
    "odd", [b"", b"\n", b"[]\n", b"not json\n", b"\xff\xfe\n", b"[" * 60000 + b"\n", b"x" * 70000, b'"' * 65536]
)
async def test_what_is_no_request_gets_no_answer(odd):
    async with served():
        try:
            assert await asyncio.to_thread(talk, odd) == b""
        except ConnectionError:
            pass
        assert (await asyncio.to_thread(ask, "alone", {"do": "facts"}))[0]["lab"] == "alone"


@pytest.mark.parametrize("odd", [{"do": "dance"}, {"do": None}, {}, {"do": "enter"}, {"do": "enter", "host": ["A"]}])
async def test_a_request_that_makes_no_sense_is_refused(odd):
    async with served():
        told = json.loads(await asyncio.to_thread(talk, json.dumps({"netemu": 1} | odd).encode() + b"\n"))
        assert told["error"]["kind"] == "UsageError"


async def test_another_version_of_the_protocol_may_only_find_and_end_the_lab():
    async with served():
        told = json.loads(await asyncio.to_thread(talk, b'{"netemu": 99, "do": "topology"}\n'))
        assert "this lab speaks protocol 1" in told["error"]["message"]
        told = json.loads(await asyncio.to_thread(talk, b'{"netemu": 99, "do": "facts"}\n'))
        assert told["answer"]["lab"] == "alone"


async def test_the_socket_is_for_its_user_alone(monkeypatch):
    async with served():
        assert (BASE / "alone" / SOCKET).stat().st_mode & 0o777 == 0o600
        assert Path(BASE / "alone").resolve().stat().st_mode & 0o777 == 0o700
        monkeypatch.setattr(control, "os", SimpleNamespace(geteuid=lambda: 4321))
        try:
            assert await asyncio.to_thread(talk, b'{"netemu": 1, "do": "facts"}\n') == b""
        except ConnectionError:
            pass


async def test_down_is_told_by_the_end_of_the_connection_and_ends_what_is_under_way(monkeypatch):
    begun = asyncio.Event()

    async def endless(held, request):
        begun.set()
        await asyncio.Event().wait()
        return Answer()

    monkeypatch.setattr(control, "HANDLERS", requests.HANDLERS | {"endless": endless})
    topology, _ = loads(ALONE)
    async with Lab(topology, named=True) as lab:
        assert lab.folder is not None
        serving = asyncio.create_task(ControlServer(Held(lab, {}), lab.folder.path).serve())
        with connected() as under_way, connected() as asker:
            under_way.sendall(b'{"netemu": 1, "do": "endless"}\n')
            await begun.wait()
            asker.sendall(b'{"do": "down"}\n')
            (kept,) = await serving
            assert under_way.recv(1) == b""
            kept.close()
            assert asker.recv(1) == b""
