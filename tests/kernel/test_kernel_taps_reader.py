"""The thread that takes what comes off the taps' sockets."""

from __future__ import annotations

import os
import queue
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from netemu.kernel.taps.reader import Reader


class _Forgetful:
    """A source that has no memory for what it takes, the first few times."""

    def __init__(self, sock, failures):
        self.sock = sock
        self.patience = 0.005
        self.awake = False
        self.failures = failures
        self.taken = threading.Event()

    @property
    def descriptors(self):
        return (self.sock.fileno(),)

    def crowded(self):
        return False

    def receive(self):
        if self.failures:
            self.failures -= 1
            raise MemoryError
        if not self.sock.recv(100, socket.MSG_PEEK):
            return False
        self.sock.recv(100)
        self.taken.set()
        return False


def test_out_of_memory_for_a_moment_the_thread_goes_on():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    reader = Reader()
    try:
        source = _Forgetful(ours, 3)
        reader.add(source)
        theirs.send(b"frame")
        assert source.taken.wait(10)
        assert not source.failures
        reader.remove(source)
    finally:
        reader.close()
        ours.close()
        theirs.close()


class _Counted:
    """A source that takes one datagram a look, and tells how many times it was looked at."""

    def __init__(self, patience):
        self.sock, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.patience = patience
        self.crowd = False
        self.awake = False
        self.taken = []
        self.looked = threading.Condition()

    @property
    def descriptors(self):
        return (self.sock.fileno(),)

    def crowded(self):
        return self.crowd

    def receive(self):
        with self.looked:
            self.taken.append(self.sock.recv(100))
            self.looked.notify_all()
        return False

    def looks(self, count):
        with self.looked:
            return self.looked.wait_for(lambda: len(self.taken) >= count, 10)

    def close(self):
        self.sock.close()
        self.theirs.close()


@pytest.fixture
def sources():
    """Two sources, one that may be left alone for an hour, and one that may hardly be, beside a reader of both."""
    reader, patient, hasty = Reader(), _Counted(3600), _Counted(0.005)
    try:
        for source in (patient, hasty):
            reader.add(source)
        yield reader, patient, hasty
    finally:
        reader.close()
        patient.close()
        hasty.close()


def test_what_may_be_left_alone_is_while_others_are_taken_from(sources):
    _, patient, hasty = sources
    patient.theirs.send(b"1")
    assert patient.looks(1)
    patient.theirs.send(b"2")
    for number in range(5):
        hasty.theirs.send(b"x")
        assert hasty.looks(number + 1)
    assert patient.taken == [b"1"]


def test_what_fills_up_is_taken_from_however_long_it_may_be_left_alone(sources):
    _, patient, _ = sources
    patient.theirs.send(b"1")
    assert patient.looks(1)
    patient.theirs.send(b"2")
    patient.crowd = True
    assert patient.looks(2)


def test_while_somebody_waits_nothing_is_left_alone(sources):
    reader, patient, _ = sources
    patient.theirs.send(b"1")
    assert patient.looks(1)
    with reader.hurried():
        patient.theirs.send(b"2")
        assert patient.looks(2)


class _Unpolled(_Counted):
    """A source for which nothing can be polled any more once it was rung: it says itself how often it is looked at."""

    def __init__(self, looks):
        super().__init__(0.005)
        self.left = looks

    @property
    def awake(self):
        return self.left > 0

    @awake.setter
    def awake(self, _said):
        pass

    def receive(self):
        with self.looked:
            if self.left == 0:
                self.sock.recv(100)
                self.left = 5
            self.left -= 1
            self.taken.append(self.left)
            self.looked.notify_all()
        return False


def test_what_is_awake_is_looked_at_though_nothing_can_be_polled_and_no_more_once_it_sleeps():
    reader, source, other = Reader(), _Unpolled(0), _Counted(0.005)
    try:
        reader.add(source)
        reader.add(other)
        for turn in (1, 2):
            source.theirs.send(b"bell")
            assert source.looks(5 * turn)
            other.theirs.send(b"x")
            assert other.looks(turn)
            assert source.taken == [4, 3, 2, 1, 0] * turn
    finally:
        reader.close()
        source.close()
        other.close()


def test_what_was_removed_is_not_looked_at_though_it_is_awake():
    reader, source, other = Reader(), _Unpolled(0), _Counted(0.005)
    try:
        reader.add(source)
        reader.add(other)
        source.theirs.send(b"bell")
        assert source.looks(1)
        reader.remove(source)
        other.theirs.send(b"x")
        assert other.looks(1)
        source.left = 100
        looks = len(source.taken)
        for turn in (2, 3):
            other.theirs.send(b"x")
            assert other.looks(turn)
        assert len(source.taken) == looks
    finally:
        reader.close()
        source.close()
        other.close()


def _least_nice() -> int:
    """What a thread of this process may have: without root, as a rule no less than it has."""
    try:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), -10)
    except OSError:
        return 0
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_the_thread_has_priority_over_what_it_is_to_keep_up_with(sources):
    _, _, source = sources
    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    with ThreadPoolExecutor(1) as thread:
        least = thread.submit(_least_nice).result()
    source.theirs.send(b"1")
    assert source.looks(1)
    (thread,) = (each for each in threading.enumerate() if each.name == "netemu-taps")
    assert os.getpriority(os.PRIO_PROCESS, thread.native_id) == least
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == own


class _Rests(threading.Event):
    """The reader's rests: how long each may be, told as it begins."""

    def __init__(self):
        super().__init__()
        self.told = queue.SimpleQueue()

    def wait(self, timeout=None):
        self.told.put(timeout)
        return super().wait(timeout)


@pytest.mark.parametrize(("little_room", "longest"), [(True, 0.005), (False, 0.02)])
def test_while_one_is_left_alone_another_that_has_little_room_is_looked_at_often(little_room, longest):
    """Though nothing is there of it: it may begin to fill in the meantime."""
    reader, patient, idle = Reader(), _Counted(3600), _Counted(0.005 if little_room else 0.06)
    reader._rest = rests = _Rests()
    try:
        reader.add(patient)
        reader.add(idle)
        patient.theirs.send(b"1")
        assert patient.looks(1)
        patient.theirs.send(b"2")
        told = [rests.told.get(timeout=10) for _ in range(4)]
        assert told[1:] == [longest] * 3
    finally:
        reader.close()
        patient.close()
        idle.close()
