"""Connection tracking's states, status bits, tuples and entries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netemu.netfilter.conntrack import STATUS_BITS, Entry, PacketConntrack, Tuple, state_name, status_names

ORIGINAL = Tuple("tcp", "192.168.0.1", 54522, "192.168.0.2", 30000)
REPLY = Tuple("tcp", "172.26.0.3", 8080, "192.168.0.2", 54522)


@pytest.mark.parametrize(
    ("bits", "names"),
    [
        (0, ()),
        (0x120, ("dst-nat", "dst-nat-done")),
        (0x1B0, ("src-nat", "dst-nat", "src-nat-done", "dst-nat-done")),
        (0x1BE, ("seen-reply", "assured", "confirmed", "src-nat", "dst-nat", "src-nat-done", "dst-nat-done")),
        (1 << 31, ()),
    ],
)
def test_status_bits_have_the_kernels_names_lowest_first(bits, names):
    assert status_names(bits) == names


@given(st.sets(st.sampled_from(sorted(STATUS_BITS))))
def test_the_names_of_a_status_are_those_it_was_made_of(names):
    assert set(status_names(sum(STATUS_BITS[name] for name in names))) == names


@pytest.mark.parametrize(
    ("bits", "name"), [(1, "invalid"), (2, "established"), (4, "related"), (8, "new"), (64, "untracked")]
)
def test_a_state_word_has_one_state(bits, name):
    assert state_name(bits) == name


def test_a_word_without_a_state_has_no_name():
    assert state_name(0x10) is None


@pytest.mark.parametrize(
    ("state", "direction", "ctinfo"),
    [
        ("new", "original", "NEW"),
        ("established", "original", "ESTABLISHED"),
        ("established", "reply", "ESTABLISHED_REPLY"),
        ("related", "original", "RELATED"),
        ("related", "reply", "RELATED_REPLY"),
        ("established", None, "ESTABLISHED"),
        ("invalid", None, "INVALID"),
        ("untracked", None, "UNTRACKED"),
    ],
)
def test_ctinfo_is_the_kernels_word_for_state_and_direction(state, direction, ctinfo):
    assert PacketConntrack(state, direction).ctinfo == ctinfo


@pytest.mark.parametrize(
    ("status", "known", "manips"),
    [
        (None, None, None),
        (0, None, ()),
        (0x120, None, ("dst",)),
        (0x1B0, None, ("src", "dst")),
        (0x30, None, ()),
        (None, 0, ()),
        (None, 0x80, ("src",)),
        (0, 0x180, ()),
    ],
)
def test_manips_are_those_set_up_by_then_whether_or_not_they_changed_anything(status, known, manips):
    assert PacketConntrack("new", "original", status=status, known_manips=known).manips == manips


def test_the_inverse_of_a_tuple_is_its_answer():
    assert ORIGINAL.inverse == Tuple("tcp", "192.168.0.2", 30000, "192.168.0.1", 54522)


@given(st.builds(Tuple, st.just("udp"), st.text(), st.none() | st.integers(), st.text(), st.none() | st.integers()))
def test_the_inverse_of_the_inverse_is_the_tuple_itself(one):
    assert one.inverse.inverse == one


@pytest.mark.parametrize(
    ("newer", "status", "tcp_state"),
    [
        (Entry(7, ORIGINAL, REPLY, 0x1BE, "CLOSE"), 0x1BE, "CLOSE"),
        (Entry(7, ORIGINAL, REPLY, 0x1BE), 0x1BE, "SYN_SENT"),
        (Entry(7, ORIGINAL, REPLY, 0, "CLOSE"), 0x1B8, "CLOSE"),
    ],
)
def test_an_event_updates_what_it_carries_and_leaves_the_rest(newer, status, tcp_state):
    entry = Entry(7, ORIGINAL, REPLY, 0x1B8, "SYN_SENT").updated(newer)
    assert entry == Entry(7, ORIGINAL, REPLY, status, tcp_state)
