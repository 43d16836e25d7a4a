"""What goes out while it happens: who waits, and for how long, once all ends."""

from __future__ import annotations

import fcntl
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from netemu.lab.stream import Stream


@pytest.fixture
def stream() -> Iterator[Stream]:
    """To a pipe that nobody reads; of a lab that stays up."""
    (reader, out), (holder, holding) = os.pipe(), os.pipe()
    with Stream(out, holder) as made:
        yield made
    for each in (reader, out, holder, holding):
        os.close(each)


def goes_on(stream: Stream) -> list[bool]:
    """What `wait` says for a socket that nothing comes from; nothing if it says nothing."""
    told: list[bool] = []
    one, other = socket.socketpair()
    with closing(one), closing(other):
        waiting = threading.Thread(target=lambda: told.append(stream.wait([one])), daemon=True)
        waiting.start()
        waiting.join(5)
        at_once = list(told)
        other.send(b"x")  # so that it ends in any case
        waiting.join()
    return at_once


@pytest.mark.parametrize("why", ["stopped", "lab", "reader"])
def test_who_was_told_to_end_while_something_was_written_waits_for_nothing(stream: Stream, why: str):
    stream.why = why  # type: ignore[assignment]
    assert goes_on(stream) == [False]


def test_a_signal_ends_a_write_that_the_reader_has_no_room_for(stream: Stream):
    os.write(stream._rope, b"\0")  # as the interpreter does for a signal
    assert stream.write(bytes(1 << 20)) < 1 << 20
    assert stream.why == "stopped"
    assert goes_on(stream) == [False]


@pytest.mark.parametrize(("room", "whole"), [(4096, 2), (1 << 20, 3)])
def test_of_pieces_those_count_that_were_written_whole(stream: Stream, room: int, whole: int):
    fcntl.fcntl(stream.out, fcntl.F_SETPIPE_SZ, room)
    if room == 4096:
        os.write(stream._rope, b"\0")  # all ends, as the reader has no room for the third
    assert stream.write_each([b"", b"x" * 100, b"x" * 8000]) == whole
