"""Routes and policy rules: what fits together, and what IP version they are of."""

from __future__ import annotations

import pytest

from netemu.errors import TopologyError
from netemu.topology.routing import PolicyRule, Route, table_number


@pytest.mark.parametrize(
    ("written", "version", "network"),
    [
        ({"to": "default", "dev": "e"}, 4, "0.0.0.0/0"),
        ({"to": "default", "via": "fd00::1"}, 6, "::/0"),
        ({"to": "default", "nexthops": [{"dev": "e"}, {"via": "fd00::1"}]}, 6, "::/0"),
        ({"to": "fd00::/64", "dev": "e"}, 6, "fd00::/64"),
        ({"to": "default", "type": "blackhole", "source": "fd00::1"}, 6, "::/0"),
    ],
)
def test_a_route_is_of_one_ip_version(written, version, network):
    route = Route.model_validate(written)
    assert (route.version, str(route.network)) == (version, network)


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ({"to": "default"}, "give via, dev or both"),
        ({"to": "default", "type": "blackhole", "dev": "e"}, "a blackhole route leads nowhere: leave out dev"),
        (
            {"to": "default", "via": "10.0.0.1", "nexthops": [{"dev": "e"}]},
            "via and nexthops: give one way, or several",
        ),
        ({"to": "default", "nexthops": [{}]}, "give via, dev or both"),
    ],
)
def test_a_route_that_is_none_is_refused(written, says):
    with pytest.raises(TopologyError, match=says):
        Route.model_validate(written)


@pytest.mark.parametrize(
    ("written", "version", "mark"),
    [
        ({"table": 5}, 4, None),
        ({"table": 5, "family": "ipv6", "fwmark": "0x10/0xf0"}, 6, (0x10, 0xF0)),
        ({"table": 5, "from": "fd00::/64", "fwmark": 7}, 6, (7, 2**32 - 1)),
        ({"type": "prohibit", "to": "10.0.0.0/8"}, 4, None),
    ],
)
def test_a_policy_rule_is_of_one_ip_version(written, version, mark):
    rule = PolicyRule.model_validate(written)
    assert (rule.version, rule.mark) == (version, mark)


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ({}, "give table"),
        ({"type": "prohibit", "table": 5}, "a prohibit rule looks in no table"),
        ({"table": 5, "from": "fd00::/64", "to": "10.0.0.0/8"}, "of two IP versions"),
        ({"table": 5, "from": "fd00::/64", "family": "ipv4"}, "of two IP versions"),
        ({"table": 5, "fwmark": "0x100000000"}, "is no mark"),
    ],
)
def test_a_policy_rule_that_is_none_is_refused(written, says):
    with pytest.raises(TopologyError, match=says):
        PolicyRule.model_validate(written)


def test_tables_have_the_kernels_numbers():
    assert [table_number(table) for table in ("main", "local", "default", 7)] == [254, 255, 253, 7]
