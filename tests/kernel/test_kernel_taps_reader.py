"""The thread that takes what comes off the taps' sockets."""

from __future__ import annotations

import socket
import threading

from netemu.kernel.taps.reader import Reader


class _Forgetful:
    """A source that has no memory for what it takes, the first few times."""

    def __init__(self, sock, failures):
        self.sock = sock
        self.patience = 0.005
        self.failures = failures
        self.taken = threading.Event()

    @property
    def descriptors(self):
        return (self.sock.fileno(),)

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
