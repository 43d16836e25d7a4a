"""What conntrack told: kinds of events, what they say of entries, and asking for some of them."""

from __future__ import annotations

import struct

import pytest
from record_nodeport import CLIENT, POD, SERVICE
from record_packets import tcp, udp
from record_scene import Scene, attribute, message, u32

from netemu.errors import UsageError
from netemu.netfilter.conntrack import Entry
from netemu.record.record import Record, build_record
from netemu.record.tracked import ConntrackEvent

ASKED, ANSWERED = tcp(CLIENT, SERVICE), tcp(POD, "192.168.0.2:54522")
CREATE = 0x600
"""NLM_F_CREATE | NLM_F_EXCL, as ctnetlink_conntrack_event sets them."""


def flagged(datagram: bytes, flags: int, more: bytes = b"") -> bytes:
    """A message with other flags and more attributes."""
    length, kind = struct.unpack_from("=IH", datagram)
    return struct.pack("=IHH", length + len(more), kind, flags) + datagram[8:] + more


@pytest.fixture
def record(scene: Scene) -> Record:
    """B's entry comes, is marked, and goes; another one is in the table at the end. C has one of its own."""
    b, c = scene.host("B", eth0="lan"), scene.host("C", eth0="lan")
    b.entry(7, ASKED, ANSWERED, "confirmed", tcp_state="SYN_SENT")
    b.events[-1] = flagged(b.events[-1], CREATE, attribute(18, struct.pack("!H", 5)) + attribute(7, u32(120)))
    b.entry(7, ASKED, ANSWERED, "confirmed", "seen-reply", tcp_state="SYN_RECV")
    b.events[-1] = flagged(b.events[-1], 0, attribute(8, u32(0x2A)))
    b.entry(7, ASKED, ANSWERED, "confirmed", deleted=True)
    asked = udp("10.0.0.1:4000", "10.0.0.2:53")
    b.entry(8, asked, udp("10.0.0.2:53", "10.0.0.1:4000"), dumped=True)
    c.entry(7, asked, udp("10.0.0.2:53", "10.0.0.1:4000"))
    c.events[-1] = flagged(c.events[-1], CREATE)
    c.events.append(message(1, 1, 2, b""))
    return scene.record()


def told(event: ConntrackEvent) -> tuple:
    return event.host, event.kind, event.entry.id


def test_events_come_host_by_host_in_order_then_the_table_at_the_end(record: Record):
    assert [told(event) for event in record.conntrack] == [
        ("B", "new", 7),
        ("B", "update", 7),
        ("B", "destroy", 7),
        ("B", "dump", 8),
        ("C", "new", 7),
    ]
    assert (len(record.conntrack), told(record.conntrack[-1])) == (5, ("C", "new", 7))
    assert [told(event) for event in record.conntrack[2:4]] == [("B", "destroy", 7), ("B", "dump", 8)]


def test_an_event_says_what_its_message_says_and_no_more(record: Record):
    new, update, destroy = (event.entry for event in record.conntrack[:3])
    assert (new.original, new.reply) == (ASKED.tuple, ANSWERED.tuple)
    assert (new.tcp_state, new.mark, new.zone, new.timeout) == ("SYN_SENT", None, 5, 120)
    assert (update.status_names, update.mark, update.zone) == (("seen-reply", "confirmed"), 0x2A, None)
    assert (destroy.tcp_state, destroy.timeout) == (None, None)


def test_an_entry_keeps_the_last_that_was_told_of_it():
    entry = Entry(7, ASKED.tuple, ANSWERED.tuple, 8, "SYN_SENT", None, 5, 120)
    marked = entry.updated(Entry(7, ASKED.tuple, ANSWERED.tuple, 0, None, 0x2A))
    assert (marked.mark, marked.zone, marked.timeout, marked.tcp_state) == (0x2A, 5, 120, "SYN_SENT")
    assert entry.updated(Entry(7, ASKED.tuple, ANSWERED.tuple, 0, None, None, 0, 0)).zone == 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({"at": "C"}, [("C", "new", 7)]),
        ({"kind": "destroy"}, [("B", "destroy", 7)]),
        ({"id": 8}, [("B", "dump", 8)]),
        ({"mark": 0x2A}, [("B", "update", 7)]),
        ({"zone": 5}, [("B", "new", 7)]),
        ({"state": "SYN_RECV"}, [("B", "update", 7)]),
        ({"status": "seen-reply"}, [("B", "update", 7)]),
        ({"proto": "udp", "at": "B"}, [("B", "dump", 8)]),
        ({"proto": 17, "at": "B"}, [("B", "dump", 8)]),
        ({"src": "172.26.0.0/24", "kind": "new"}, [("B", "new", 7)]),
        ({"src": "192.168.0.1", "dst": "192.168.0.2:30000", "kind": "new"}, [("B", "new", 7)]),
        ({"src": "192.168.0.1", "dst": "192.168.0.2:54522"}, []),
        ({"host": "*:53", "kind": "new"}, [("C", "new", 7)]),
        ({"host": "10.0.0.1", "port": 53, "sport": 4000, "dport": 53}, [("B", "dump", 8), ("C", "new", 7)]),
    ],
)
def test_events_are_asked_for_by_words_of_either_direction(record: Record, words: dict, expected: list):
    assert [told(event) for event in record.conntrack(**words)] == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"knd": "new"}, "by 'knd', did you mean 'kind'"),
        ({"kind": "deleted"}, "no kind 'deleted'"),
        ({"state": "FOO"}, "no conntrack state 'FOO'"),
        ({"state": "established"}, "no conntrack state 'established', did you mean 'ESTABLISHED'?"),
        ({"status": "assured?"}, "no conntrack status 'assured?', did you mean 'assured'?"),
        ({"proto": "tpc"}, "no protocol 'tpc', did you mean 'tcp'?"),
        ({"mark": "red"}, "'red' is no number for mark"),
        ({"dport": 65536}, "no dport 65536: write 0 to 65535"),
        ({"at": "b"}, "no host 'b', did you mean 'B'"),
        ({"src": "B"}, "'B' is no address"),
    ],
)
def test_what_is_not_there_is_refused(record: Record, words: dict, message: str):
    with pytest.raises(UsageError) as caught:
        record.conntrack(**words)
    assert message in str(caught.value)


def test_no_captures_have_no_events():
    assert (list(build_record([], {}).conntrack), list(Record().conntrack), Record().conntrack(mark=1)) == ([], [], [])


def test_events_are_there_again_in_a_saved_record(record: Record, tmp_path):
    record.save(str(tmp_path / "saved"))
    assert list(Record.load(str(tmp_path / "saved")).conntrack) == list(record.conntrack)
