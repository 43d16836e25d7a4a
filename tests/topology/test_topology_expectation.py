"""What may be expected, and how it may be written."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from netemu.topology.expectation import ConntrackExpectation, CounterExpectation, Expectation, PacketExpectation

READ = TypeAdapter(Expectation).validate_python
PACKET = {"traffic": "hello", "packet": "request.first"}


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ({**PACKET, "at": "B@forward", "ttl": 63}, PacketExpectation),
        ({**PACKET, "path": ["A:eth0 out", "B:eth0 in"]}, PacketExpectation),
        ({"traffic": "hello", "conntrack": "B", "status": ["assured"]}, ConntrackExpectation),
        ({"counter": "B", "rule": "DNAT", "packets": 0}, CounterExpectation),
    ],
)
def test_its_own_key_tells_what_kind_of_expectation_is_meant(written, kind):
    assert type(READ(written)) is kind


@pytest.mark.parametrize("selector", ["request.first", "reply.nth", "request.all", "reply.1", "request.27"])
def test_a_packet_is_chosen_by_direction_and_ordinal(selector):
    assert READ({**PACKET, "packet": selector, "at": "B@forward"}).packet == selector


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, "give one of at and path"),
        ({"at": "B@forward", "path": ["B:eth0 in"]}, "give one of at and path"),
        ({"path": ["B:eth0 in"], "ttl": 3, "ct": "new"}, "ttl, ct belong to a point: use at"),
        ({"at": "B@prerouting", "walked": True}, "walked is told at the .nat points"),
        ({"at": "B:eth0 in", "walked": False}, "walked is told at the .nat points"),
        ({"at": "B:eth0"}, "needs its way"),
        ({"path": ["B:eth0 in", "C:eth0"]}, "needs its way"),
        ({"path": []}, "at least 1"),
        ({"at": "B@forward", "packet": "request.0"}, "pattern"),
        ({"at": "B@forward", "packet": "answer.first"}, "pattern"),
        ({"at": "B@forward", "src": "nobody:80"}, "is no endpoint"),
        ({"at": "B@forward", "ttl": 256}, "less than or equal to 255"),
        ({"at": "B@forward", "by": "magic"}, "'rule', 'conntrack', 'route' or 'null-binding'"),
        ({"at": "B@forward", "ct": "NEW"}, "'new', 'established'"),
        ({"at": "B@forward", "manip": "dnat"}, "'none', 'src', 'dst' or 'both'"),
        ({"at": "B@forward", "dts": "10.0.0.1"}, "Extra inputs"),
    ],
)
def test_an_expectation_that_can_not_be_meant_is_refused(change, says):
    with pytest.raises(ValidationError) as caught:
        READ({**PACKET, **change})
    assert says in str(caught.value)


def test_false_counts_as_something_asked():
    assert READ({**PACKET, "at": "B@input.nat", "walked": False}).walked is False


@pytest.mark.parametrize("written", [{"counter": "B", "rule": "DNAT", "packets": -1}, {"counter": "B", "packets": 1}])
def test_a_counter_needs_a_rule_and_a_count(written):
    with pytest.raises(ValidationError):
        READ(written)


def test_an_unknown_status_bit_is_refused():
    with pytest.raises(ValidationError, match="seen-reply"):
        READ({"traffic": "hello", "conntrack": "B", "status": ["ASSURED"]})


def test_an_expectation_made_in_python_is_taken_as_it_is():
    made = CounterExpectation(counter="B", rule="DNAT", packets=1)
    assert READ(made) is made
