"""The hooks, and the stages around the NAT ones."""

from __future__ import annotations

import pytest

from netemu.netfilter.hooks import STAGE, STAGES, START_PRIORITY, STARTS
from netemu.topology.points import HOOK_STAGES

PRIORITY = {"defragmentation": -400, "conntrack": -200, "dst": -100, "filter": 0, "src": 100}
"""Of linux/netfilter_ipv4.h."""


def test_the_points_of_a_topology_are_the_stages_of_the_taps():
    assert tuple(stage.name for stage in STAGES) == HOOK_STAGES
    assert [STAGE[name].name for name in HOOK_STAGES] == list(HOOK_STAGES)


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage.nat], ids=lambda stage: stage.name)
def test_a_nat_stage_is_just_after_nat_and_its_hooks_own_stage_just_before(stage):
    assert stage.name == f"{stage.hook}.nat"
    assert stage.priority == PRIORITY[stage.nat] + 1
    assert STAGE[stage.hook].priority == PRIORITY[stage.nat] - 1


@pytest.mark.parametrize(
    ("hook", "manip"), [("prerouting", "dst"), ("output", "dst"), ("postrouting", "src"), ("input", "src")]
)
def test_dnat_is_at_prerouting_and_output_and_snat_at_postrouting_and_input(hook, manip):
    assert STAGE[f"{hook}.nat"].nat == manip


def test_forward_has_no_nat():
    assert [stage.name for stage in STAGES if stage.hook == "forward"] == ["forward"]
    assert STAGE["forward"].priority > PRIORITY["filter"]


def test_the_trace_is_switched_on_before_anything_else_and_where_a_pass_begins():
    assert PRIORITY["defragmentation"] > START_PRIORITY
    assert STARTS == ("prerouting", "output")


def test_stages_see_a_packet_after_conntrack_did():
    assert all(stage.priority > PRIORITY["conntrack"] for stage in STAGES)
