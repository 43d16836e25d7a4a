"""Low numbers of descriptors are kept for what takes no others."""

from __future__ import annotations

import os
import resource
import socket
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from netemu.errors import KernelError
from netemu.kernel.rules.nftables import Nftables
from netemu.kernel.spaces.descriptors import (
    FD_SETSIZE,
    FEW,
    a_low_number_is_left,
    low_numbers_taken,
    low_numbers_wanted,
    moved,
    out_of_the_way,
    readable,
)
from netemu.kernel.spaces.namespace import NetworkNamespace


@pytest.fixture
def roomy():
    """A limit beyond the low numbers."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[0] < 2 * FD_SETSIZE:
        resource.setrlimit(resource.RLIMIT_NOFILE, (2 * FD_SETSIZE, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def narrow():
    """A limit at the low numbers' end."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FD_SETSIZE, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def opened() -> int:
    """The number of what is opened next."""
    number = os.open(os.devnull, os.O_RDONLY)
    os.close(number)
    return number


def low_ones_taken_after(number: int) -> list[int]:
    """Numbers beyond this one, and low, that are taken (its own look at them apart)."""
    found = [int(each) for each in os.listdir("/proc/self/fd")]
    return [each for each in found if number < each < FD_SETSIZE]


@pytest.fixture
def crowded():
    """The first few numbers are taken."""
    held = [os.open(os.devnull, os.O_RDONLY)]
    while held[-1] < FEW:
        held.append(os.dup(held[0]))
    yield
    for each in held:
        os.close(each)


def test_the_first_few_stay_where_they_are(roomy):
    low = os.open(os.devnull, os.O_RDONLY)
    assert out_of_the_way(low) == low < FEW
    os.close(low)


def test_a_descriptor_is_moved_and_its_number_free(roomy, crowded):
    low = os.open("/dev/zero", os.O_RDONLY)
    high = out_of_the_way(low)
    try:
        assert high >= FD_SETSIZE
        assert not os.get_inheritable(high)
        assert os.read(high, 2) == b"\0\0"
        assert opened() == low
    finally:
        os.close(high)


def test_a_descriptor_stays_where_there_is_no_room_beyond(narrow, crowded):
    low = os.open(os.devnull, os.O_RDONLY)
    assert out_of_the_way(low) == low
    os.close(low)


def test_a_moved_socket_is_the_same_socket(roomy, crowded):
    ours, theirs = socket.socketpair()
    with theirs, moved(ours) as sock:
        assert (sock.fileno() >= FD_SETSIZE, sock.family, sock.type) == (True, socket.AF_UNIX, socket.SOCK_STREAM)
        assert readable(sock.fileno(), within=0) == []
        theirs.sendall(b"x")
        assert readable(sock.fileno(), within=10) == [sock.fileno()]
        assert sock.recv(9) == b"x"


def test_what_would_take_the_low_numbers_up_gets_none_and_what_comes_later_does(roomy):
    before = opened()
    with low_numbers_taken([lambda: None], FD_SETSIZE):
        assert opened() >= FD_SETSIZE
        assert not a_low_number_is_left()
    assert opened() == before
    assert a_low_number_is_left(FD_SETSIZE - before - len(low_ones_taken_after(before)) - 1)
    assert not a_low_number_is_left(FD_SETSIZE - before)
    with low_numbers_taken([lambda: None], 10):
        assert opened() < FD_SETSIZE, "so few leave enough"


def test_the_low_numbers_are_given_back_by_the_last_of_the_calls_that_took_them(roomy):
    """Also where one fails, and of two that take them up, by the second."""
    before = opened()

    def fails() -> None:
        raise KeyError

    with low_numbers_taken([fails, lambda: None], FD_SETSIZE) as (one, other):
        with pytest.raises(KeyError):
            one()
        with low_numbers_taken([lambda: None], FD_SETSIZE):
            other()
            assert opened() >= FD_SETSIZE
        assert opened() == before
    assert opened() == before


def test_who_wants_a_low_number_waits_for_those_who_take_them_up(roomy):
    net = NetworkNamespace.create("waits")
    made: list[Nftables] = []
    waiting = threading.Thread(target=lambda: made.append(Nftables(net)))
    try:
        with low_numbers_taken([lambda: None], FD_SETSIZE) as (call,):
            waiting.start()
            while Path(f"/proc/self/task/{waiting.native_id}/stat").read_text().rpartition(")")[2].split()[0] != "S":
                assert waiting.is_alive()
            assert made == []
            call()
            waiting.join(timeout=20)
        (nft,) = made
        nft.run("table ip x {\n}")
        nft.close()
    finally:
        net.close()


def test_nobody_waits_for_one_who_could_not_take_the_low_numbers_up(narrow):
    held = []
    with suppress(OSError):
        while True:
            held.append(os.open(os.devnull, os.O_RDONLY))
    try:
        with pytest.raises(OSError, match="Too many open files"), low_numbers_taken([lambda: None], 10):
            pass
    finally:
        for each in held:
            os.close(each)

    def wants_one() -> None:
        with low_numbers_wanted():
            pass

    wanting = threading.Thread(target=wants_one, daemon=True)
    wanting.start()
    wanting.join(timeout=20)
    assert not wanting.is_alive()


def test_libnftables_is_not_given_a_number_that_it_would_abort_at(roomy):
    net = NetworkNamespace.create("high")
    taken = [os.open(os.devnull, os.O_RDONLY)]
    try:
        while taken[-1] < FD_SETSIZE:
            taken.append(os.dup(taken[-1]))
        with pytest.raises(KernelError, match=r"host high: .* number below 1,024"):
            Nftables(net)
        while len(taken) > 1:
            os.close(taken.pop())
        with pytest.raises(KernelError, match="a recorded lab can't have so many hosts"):
            Nftables(net, spare=FD_SETSIZE)
        nft = Nftables(net)
        nft.run("table ip x {\n}")
        nft.close()
    finally:
        for each in taken:
            os.close(each)
        net.close()
