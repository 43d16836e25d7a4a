"""Many namespaces at once."""

from __future__ import annotations

import asyncio
import threading
from contextlib import closing

import pytest

from netemu.kernel.spaces.making import make_namespaces
from netemu.kernel.spaces.namespace import NetworkNamespace
from netemu.kernel.spaces.sysctl import ProcView, read_sysctls, write_sysctls

NAMES = [f"h{number}" for number in range(40)]


@pytest.fixture
def made():
    """The namespaces that a `prepare` took; closed in the end."""
    nets: list[NetworkNamespace] = []
    yield nets
    for net in nets:
        net.close()


async def test_every_name_gets_a_namespace_of_its_own(made):
    await make_namespaces(NAMES, made.extend)
    assert sorted(net.name for net in made) == sorted(NAMES)
    assert len({net.fd for net in made}) == len(NAMES)


async def test_after_a_failure_no_more_are_made_and_it_is_told(made):
    def prepare(nets):
        for net in nets:
            made.append(net)
            if len(made) >= 5:
                raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        await make_namespaces(NAMES, prepare)
    assert len(made) < len(NAMES)


async def test_cancelled_it_ends_with_no_thread_at_work(made):
    begun = threading.Event()

    def prepare(nets):
        for net in nets:
            made.append(net)
            begun.set()

    task = asyncio.create_task(make_namespaces(NAMES * 5, prepare))
    await asyncio.to_thread(begun.wait, 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("netemu-make")]


def test_a_view_of_proc_writes_each_namespaces_own_sysctls():
    name = "net.ipv4.ip_default_ttl"
    with closing(NetworkNamespace.create("one")) as one, closing(NetworkNamespace.create("two")) as two:
        with ProcView() as proc:
            for _ in range(40):
                proc.write(one, [(name, "33", True)])
            proc.write(two, [(name, "44", True)])
        assert [read_sysctls(net, [name])[name] for net in (one, two)] == ["33", "44"]


def test_where_no_proc_can_be_mounted_the_machines_own_serves(monkeypatch):
    def refuse(kind):
        raise PermissionError(kind)

    monkeypatch.setattr("netemu.kernel.spaces.sysctl.detached_mount", refuse)
    with closing(NetworkNamespace.create("one")) as one:
        with ProcView() as proc:
            proc.write(one, [("net.ipv4.ip_default_ttl", "33", True)])
        assert read_sysctls(one, ["net.ipv4.ip_default_ttl"])["net.ipv4.ip_default_ttl"] == "33"
        write_sysctls(one, [("net.ipv4.ip_default_ttl", "34", True)])
