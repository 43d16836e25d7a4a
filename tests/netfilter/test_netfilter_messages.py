"""nfnetlink's messages from bytes."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netemu.netfilter.conntrack import Entry, PacketConntrack, Tuple
from netemu.netfilter.messages import attributes, conntrack_entry, messages, trace_event

NFGEN = bytes(4)
NESTED = 0x8000


def attribute(number: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), number) + value + bytes(-len(value) % 4)


def nest(number: int, *inner: bytes) -> bytes:
    return attribute(number | NESTED, b"".join(inner))


def message(kind: int, flags: int, payload: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(payload), kind, flags, 0, 0) + payload + bytes(-len(payload) % 4)


def u32(value: int) -> bytes:
    return struct.pack("!I", value & 0xFFFFFFFF)


TRACE = {1: b"nat\0", 2: b"PREROUTING\0", 4: u32(3), 6: u32(0xBEEF), 15: u32(2)}


def trace(**changes: bytes) -> bytes:
    """A trace message's payload: `a5=…` sets attribute 5; an empty value takes it away."""
    numbered = TRACE | {int(key[1:]): value for key, value in changes.items()}
    return NFGEN + b"".join(attribute(number, value) for number, value in numbered.items() if value)


def verdict(code: int, chain: bytes = b"") -> bytes:
    return attribute(1, u32(code)) + (attribute(2, chain) if chain else b"")


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.binary(max_size=40)), max_size=5))
def test_messages_packed_together_come_apart_again(packed):
    assert list(messages(b"".join(message(*one) for one in packed))) == packed


@given(st.dictionaries(st.integers(0, 0x3FFF), st.binary(max_size=40), max_size=8))
def test_attributes_packed_together_come_apart_again(packed):
    assert attributes(NFGEN + b"".join(attribute(*one) for one in packed.items()), len(NFGEN)) == packed


@pytest.mark.parametrize("flag", [0x8000, 0x4000, 0xC000])
def test_an_attributes_number_is_read_without_its_flags(flag):
    assert attributes(attribute(5 | flag, b"abcd")) == {5: b"abcd"}


@given(st.binary(max_size=200))
def test_any_bytes_are_walked_to_their_end(buffer):
    assert sum(16 + len(payload) for _, _, payload in messages(buffer)) <= len(buffer)
    assert sum(4 + len(value) for value in attributes(buffer).values()) <= len(buffer)


@pytest.mark.parametrize("length", [0, 3, 15, 100])
def test_a_message_with_a_wrong_length_ends_the_walk(length):
    good = message(1, 0, b"abcd")
    assert list(messages(good + struct.pack("=IHHII", length, 2, 0, 0, 0))) == [(1, 0, b"abcd")]


@pytest.mark.parametrize("length", [0, 3, 9])
def test_an_attribute_with_a_wrong_length_ends_the_walk(length):
    torn = struct.pack("=HH", length, 2) + b"abcd"
    assert attributes(attribute(1, b"x") + torn) == {1: b"x"}


@given(st.data())
def test_a_message_cut_short_gives_only_the_whole_ones(data):
    whole = message(1, 0, b"abcd") + message(2, 0, b"efgh")
    cut = data.draw(st.integers(0, len(whole)))
    assert [kind for kind, _, _ in messages(whole[:cut])] == [1, 2][: cut // 20]


def test_a_rules_trace_tells_chain_handle_verdict_and_headers():
    event = trace_event(
        trace(
            a3=struct.pack("!Q", 4), a5=verdict(1), a8=b"network", a9=b"transport", a10=u32(2), a12=u32(3), a17=u32(1)
        )
    )
    assert event is not None
    assert (event.id, event.family, event.table, event.chain) == (0xBEEF, "", "nat", "PREROUTING")
    assert (event.kind, event.handle, event.verdict, event.target) == ("rule", 4, "accept", None)
    assert (event.network, event.transport, event.iif, event.oif) == (b"network", b"transport", 2, 3)
    assert event.ct is None


def test_what_a_trace_does_not_carry_is_none_or_empty():
    event = trace_event(trace(a15=b""))
    assert event is not None
    assert (event.family, event.handle, event.iif, event.oif) == ("", None, None, None)
    assert (event.network, event.transport) == (b"", b"")


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (0, "drop"),
        (1, "accept"),
        (2, "stolen"),
        (3 | 5 << 16, "queue"),
        (-1, "continue"),
        (-2, "break"),
        (-5, "return"),
        (77, "77"),
        (-9, "-9"),
    ],
)
def test_a_verdict_has_its_name(code, name):
    event = trace_event(trace(a5=verdict(code)))
    assert event is not None
    assert event.verdict == name


@pytest.mark.parametrize(("code", "name"), [(-3, "jump"), (-4, "goto")])
def test_a_jump_has_its_target(code, name):
    event = trace_event(trace(a5=verdict(code, b"KUBE-SVC\0")))
    assert event is not None
    assert (event.verdict, event.target) == (name, "KUBE-SVC")


@pytest.mark.parametrize(("policy", "name"), [(1, "accept"), (0, "drop")])
def test_a_policys_verdict_is_the_policy(policy, name):
    event = trace_event(trace(a4=u32(1), a16=u32(policy)))
    assert event is not None
    assert (event.kind, event.verdict) == ("policy", name)


@pytest.mark.parametrize(("number", "family"), [(1, "inet"), (2, "ip"), (10, "ip6"), (7, "bridge"), (99, "")])
def test_a_trace_tells_its_tables_family_which_is_not_always_the_packets(number, family):
    event = trace_event(bytes([number]) + trace(a15=u32(2))[1:])
    assert event is not None
    assert event.family == family


@pytest.mark.parametrize("missing", ["a1", "a2", "a4", "a6"])
def test_a_trace_that_lacks_what_every_trace_has_is_none(missing):
    assert trace_event(trace(**{missing: b""})) is None


def test_a_trace_of_an_unknown_kind_is_none():
    assert trace_event(trace(a4=u32(9))) is None


@pytest.mark.parametrize(
    ("carried", "expected"),
    [
        ({}, None),
        ({"a21": u32(64)}, PacketConntrack("untracked")),
        ({"a21": u32(8), "a18": u32(7), "a19": b"\0"}, PacketConntrack("new", "original", 7, 0)),
        (
            {"a21": u32(8), "a18": u32(7), "a19": b"\0", "a20": u32(0x120)},
            PacketConntrack("new", "original", 7, 0x120),
        ),
        (
            {"a21": u32(2), "a18": u32(7), "a19": b"\1", "a20": u32(0x1BE)},
            PacketConntrack("established", "reply", 7, 0x1BE),
        ),
    ],
)
def test_a_trace_tells_conntracks_view_where_the_kernel_sends_it(carried, expected):
    event = trace_event(trace(**carried))
    assert event is not None
    assert event.ct == expected


def ports(protocol: int, sport: int, dport: int) -> bytes:
    return nest(
        2,
        attribute(1, bytes([protocol])),
        attribute(2, struct.pack("!H", sport)),
        attribute(3, struct.pack("!H", dport)),
    )


def icmp_id(protocol: int, number: int, attribute_number: int) -> bytes:
    return nest(2, attribute(1, bytes([protocol])), attribute(attribute_number, struct.pack("!H", number)))


def addresses(src: str, dst: str) -> bytes:
    one, other = ip_address(src).packed, ip_address(dst).packed
    first = 1 if len(one) == 4 else 3
    return nest(1, attribute(first, one), attribute(first + 1, other))


def entry(original: bytes, reply: bytes, *more: bytes) -> bytes:
    return NFGEN + nest(1, original) + nest(2, reply) + attribute(12, u32(0xDEADBEEF)) + b"".join(more)


def test_an_entry_tells_both_tuples_its_status_and_tcp_state():
    original = addresses("192.168.0.1", "192.168.0.2") + ports(6, 54522, 30000)
    reply = addresses("172.26.0.3", "192.168.0.2") + ports(6, 8080, 54522)
    tcp = nest(4, nest(1, attribute(1, b"\3"), attribute(2, b"\7")))
    assert conntrack_entry(entry(original, reply, attribute(3, u32(0x1BE)), tcp)) == Entry(
        0xDEADBEEF,
        Tuple("tcp", "192.168.0.1", 54522, "192.168.0.2", 30000),
        Tuple("tcp", "172.26.0.3", 8080, "192.168.0.2", 54522),
        0x1BE,
        "ESTABLISHED",
    )


@pytest.mark.parametrize(
    ("src", "dst", "proto", "expected"),
    [
        ("fd00::1", "fd00::2", ports(17, 0, 53), Tuple("udp", "fd00::1", 0, "fd00::2", 53)),
        ("10.0.0.1", "10.0.0.2", icmp_id(1, 99, 4), Tuple("icmp", "10.0.0.1", 99, "10.0.0.2", 99)),
        ("fd00::1", "fd00::2", icmp_id(58, 99, 7), Tuple("icmp6", "fd00::1", 99, "fd00::2", 99)),
        ("10.0.0.1", "10.0.0.2", nest(2, attribute(1, b"\x63")), Tuple("99", "10.0.0.1", None, "10.0.0.2", None)),
    ],
    ids=["udp from port 0", "icmp", "icmp6", "protocol without ports"],
)
def test_a_tuple_is_read_for_every_protocol_and_family(src, dst, proto, expected):
    read = conntrack_entry(entry(addresses(src, dst) + proto, addresses(dst, src) + proto))
    assert read is not None
    assert (read.original, read.status, read.tcp_state) == (expected, 0, None)


def test_an_unknown_tcp_state_is_none():
    one = addresses("10.0.0.1", "10.0.0.2") + ports(6, 1, 2)
    read = conntrack_entry(entry(one, one, nest(4, nest(1, attribute(1, b"\xff")))))
    assert read is not None
    assert read.tcp_state is None


WHOLE = addresses("10.0.0.1", "10.0.0.2") + ports(6, 1, 2)


@pytest.mark.parametrize(
    "payload",
    [
        NFGEN,
        NFGEN + nest(1, WHOLE) + nest(2, WHOLE),
        NFGEN + nest(1, WHOLE) + attribute(12, u32(1)),
        entry(WHOLE, addresses("10.0.0.1", "10.0.0.2")),
        entry(ports(6, 1, 2), WHOLE),
    ],
    ids=["nothing", "no id", "no reply", "reply without protocol", "original without addresses"],
)
def test_an_entry_that_lacks_a_tuple_or_its_id_is_none(payload):
    assert conntrack_entry(payload) is None
