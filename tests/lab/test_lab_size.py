"""Large labs: how far they are, and what stops them before anything is built."""

from __future__ import annotations

import os
import resource

import pytest

from netemu import KernelError, Lab, Topology
from netemu.kernel.spaces import limits
from netemu.kernel.spaces.sysctl import read_sysctls
from netemu.lab import build
from netemu.topology.plan import plan
from netemu.topology.steps import SetSysctl, Step


def star(size: int) -> Topology:
    hosts = {
        f"h{number}": {"interfaces": {"eth0": {"network": "lan", "addresses": [f"10.0.0.{number}/24"]}}}
        for number in range(1, size + 1)
    }
    return Topology.model_validate({"name": "star", "networks": {"lan": {}}, "hosts": hosts})


@pytest.mark.parametrize("size", [2, 40])
async def test_progress_grows_to_the_whole(size):
    told: list[tuple[int, int]] = []
    async with Lab(star(size), progress=lambda done, whole: told.append((done, whole))):
        pass
    counts = [done for done, _ in told]
    assert counts == sorted(set(counts))
    assert len({whole for _, whole in told}) == 1
    assert told[-1][0] == told[-1][1]
    assert len(told) > (size if size > 8 else 3)


@pytest.fixture
def limit():
    """Set this process's limit of open files; put back in the end."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield lambda soft, hard=before[1]: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_a_low_soft_limit_of_open_files_is_raised_as_far_as_a_lab_needs(limit):
    limit(200)
    async with Lab(star(40)):
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 200


@pytest.mark.parametrize("size", [2, 12, 30])
async def test_every_host_has_the_sysctls_of_a_plan_however_many_there_are(size):
    """What a fresh namespace has anyway is not written: the first of many says what that is."""
    topology = star(size)
    async with Lab(topology) as lab:
        for host in lab.hosts.values():
            wanted = {step.name: step.value for step in plan(topology) if is_sysctl(step, host.name)}
            assert wanted
            assert read_sysctls(host.net, wanted) == wanted


def is_sysctl(step: Step, host: str) -> bool:
    return isinstance(step, SetSysctl) and step.host == host


async def test_every_descriptor_of_a_host_with_taps_was_asked_for(limit):
    """With the rings of trace events: what few hosts may borrow from what is left for all else, a hundred may not."""

    async def held(size: int) -> int:
        async with Lab(star(size)) as lab, lab.record():
            return len(os.listdir("/proc/self/fd"))

    few, more = await held(2), await held(12)
    assert (more - few) / 10 <= build._PER_NAMESPACE + build._PER_TAPS
    limit(300)
    async with Lab(star(60)) as lab, lab.record():
        pass


async def test_a_hard_limit_that_is_too_low_is_named_before_anything_is_built(limit, monkeypatch):
    monkeypatch.setattr(limits.resource, "getrlimit", lambda _: (200, 200))
    with pytest.raises(KernelError, match=r"needs \d+ open files, and this process may have 200: raise the hard limit"):
        async with Lab(star(40)):
            pass
