"""What a lab may send."""

from __future__ import annotations

import pytest

from netemu.errors import TopologyError
from netemu.topology.traffic import Traffic


def item(**how: object) -> Traffic:
    return Traffic.model_validate({"name": "hello", "from": "A", **how})


@pytest.mark.parametrize(
    "how",
    [
        {"http": "http://192.168.0.2:30000/"},
        {"http": "http://192.168.0.2"},
        {"http": "http://[fd00::1]:80/a?b"},
        {"udp": {"to": "10.0.0.1:53"}},
        {"udp": {"to": "[fd00::1]:53", "count": 10_000, "answers": 0}},
        {"command": ["ping", "-c1", "10.0.0.1"]},
    ],
)
def test_an_item_is_one_request_datagrams_or_a_command(how):
    sent = item(**how)
    assert [kind for kind in ("http", "udp", "command") if getattr(sent, kind) is not None] == list(how)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({}, "give one of http, udp and command"),
        ({"http": "http://10.0.0.1/", "command": ["true"]}, "give one of http, udp and command"),
        ({"http": "https://10.0.0.1/"}, "is no HTTP address"),
        ({"http": "10.0.0.1:80"}, "is no HTTP address"),
        ({"http": "http:///path"}, "is no HTTP address"),
        ({"http": "http://*/"}, "is no HTTP address"),
        ({"http": "http://example.com/"}, "'http://example.com/'"),
        ({"http": "http://10.0.0.1:65536/"}, "Port out of range"),
        ({"http": "http://10.0.0.1:0/"}, "port"),
        ({"udp": {"to": "10.0.0.1"}}, "needs its address and its port"),
        ({"udp": {"to": "10.0.0.1:*"}}, "needs its address and its port"),
        ({"udp": {"to": "*:53"}}, "needs its address and its port"),
        ({"udp": {"to": "10.0.0.1:53", "count": 0}}, "1 is the least"),
        ({"udp": {"to": "10.0.0.1:53", "answers": -1}}, "0 is the least"),
        ({"command": []}, "can't be empty"),
        ({"command": ["true"], "within": 3}, "is no duration"),
    ],
)
def test_an_item_that_can_not_be_sent_is_refused(how, says):
    with pytest.raises(TopologyError) as caught:
        item(**how)
    assert says in str(caught.value)


def test_python_may_say_source_where_the_file_says_from():
    assert Traffic(name="hello", source="A", command=("true",)) == item(command=["true"])
