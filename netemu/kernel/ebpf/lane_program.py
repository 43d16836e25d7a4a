"""The eBPF program of a lane (lane.py), and how the memory is laid out that it shares with us.

    HEAD, TAIL, AWAKE, RUNG, UNREAD   a long each, the first far from the others: it alone is written for every frame
    INDEX                     `entries` of 32 bytes, one a frame, as words: SEQUENCE and what follows it
    data                      `entries` pieces of 64 bytes, and as much behind them as the longest frame may need

HEAD and TAIL count, from the beginning on, pieces in their lower bits and frames above (FRAMES). One atomic addition to
HEAD reserves both: who gets them fills them in, and its frame's number, written last, says that they are whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from netemu.kernel.ebpf import bpf
from netemu.kernel.ebpf.bpf import Instruction as Do
from netemu.kernel.ebpf.btf import Facts
from netemu.record.capture import OUTGOING

HEAD, TAIL, AWAKE, RUNG, UNREAD = 0, 128, 136, 144, 152
INDEX = 4096
FRAMES = 44
"""The bit from which on HEAD counts frames; below, pieces: more than a lane can ever have."""
SEQUENCES = (1 << 64 - FRAMES) - 1
"""The bits of a frame's number: it goes round."""
ENTRY, PIECE = 32, 64
"""Bytes of an entry and of a piece."""
LONGEST = 2000
"""Bytes of the longest frame that is taken: those beyond an Ethernet's are few, and each is long to copy."""
SEQUENCE, TAG, TIME, INTERFACE, LENGTH, CHECKSUM, PLACE = 0, 1, 2, 4, 5, 6, 7
"""Words of an entry: the frame's number and one more (SEQUENCES), its VLAN tag with its type above it or 0, nanoseconds
(two words), its interface, its length, the word of struct sk_buff that tells of its checksum (btf.py), the number of
its first piece with the packet type from bit `KIND` on.

Nanoseconds are as a ring has them (tpacket_get_timestamp, net/packet/af_packet.c): the kernel's own stamp of when the
frame came, of the epoch's clock, where somebody on the machine asks for such stamps. `STAMPED` is set then, in PLACE.
Else they are those of CLOCK_TAI at this moment: also where TCP's stamp of when to send a frame is still on it."""
KIND, STAMPED = 28, 1 << 27

CORES = 64
"""As many as a machine may have."""
_SPARE = CORES * (LONGEST // PIECE + 1)
"""Pieces that stay free, and entries with them: so many cores may reserve some though they saw room for one only."""
MOST = (SEQUENCES + 1) // 2
"""Entries of a lane, at most: half of what frames are counted to, so that none is taken for one of a round before."""

_LENGTH, _PACKET_TYPE, _VLAN, _VLAN_TAG, _VLAN_TYPE, _INTERFACE = 0, 4, 20, 24, 28, 40
"""Where struct __sk_buff says what."""
_KTIME_GET_TAI, _PROBE_READ_KERNEL, _LOAD_BYTES, _RINGBUF_OUTPUT = 208, 113, 26, 130
_FORCE_WAKEUP = 2
"""BPF_RB_FORCE_WAKEUP: whoever polls the ring is woken."""
_HEADER = 8
BELL = 16
"""Bytes that each ring of the bell takes in its own buffer, the header (struct bpf_ringbuf_hdr) among them."""
_ALL, _NONE = -1, 0
"""How much of a frame the socket is given."""
_PLACE, _SHARED, _READ = -8, -16, -24
"""Where on the stack the frame's number and the memory's address are kept, and what is read of the kernel's memory."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The memory of a lane with so many entries, a power of two up to `MOST`. Raises ValueError for what is too few."""

    entries: int

    def __post_init__(self) -> None:
        if self.entries > MOST or self.room < self.entries // 2:
            raise ValueError(self.entries)

    @property
    def data(self) -> int:
        """Where the pieces begin."""
        return INDEX + ENTRY * self.entries

    @property
    def size(self) -> int:
        """Bytes of all of it."""
        return self.data + PIECE * self.entries + LONGEST + PIECE

    @property
    def room(self) -> int:
        """Pieces and entries that may be in use when one more frame is let in."""
        return self.entries - _SPARE


def program(layout: Layout, shared: int, bell: int, facts: Facts) -> bytes:
    """Copies frames to the lane and keeps them from the socket; what is long, or has no room there, the socket gets.

    `shared` and `bell` are maps' descriptors. r6 is the frame (struct __sk_buff, which is its struct sk_buff for who
    reads the kernel's memory), r7 its length, r8 the memory's address and then the entry's, r9 its place.
    """
    return bpf.assembled(
        {
            "begin": [
                Do(bpf.MOVE, 6, 1),
                Do(bpf.LOAD_WORD, 7, 6, _LENGTH),
                *bpf.load_value(8, shared),
                Do(bpf.JUMP_IF_MORE, 7, number=LONGEST, to="leave"),
                Do(bpf.JUMP_IF_LESS, 7, number=1, to="leave"),
            ],
            "room": _room(layout),
            "reserve": _reserve(layout),
            "entry": _ENTRY,
            "untagged": _checksum(facts),
            "stamp": _stamp(facts),
            "clock": [Do(bpf.CALL, number=_KTIME_GET_TAI)],
            "time": [Do(bpf.STORE_LONG, 8, 0, INDEX + 4 * TIME)],
            "data": [
                Do(bpf.SHIFT_LEFT, 9, number=PIECE.bit_length() - 1),
                Do(bpf.LOAD_LONG, 3, 10, _SHARED),
                Do(bpf.ADD, 3, 9),
                Do(bpf.ADD_NUMBER, 3, number=layout.data),
                Do(bpf.MOVE, 1, 6),
                Do(bpf.NUMBER, 2),
                Do(bpf.MOVE, 4, 7),
                Do(bpf.CALL, number=_LOAD_BYTES),
                Do(bpf.JUMP_IF_EQUAL, 0, to="publish"),
                Do(bpf.LOAD_LONG, 2, 10, _SHARED),
                Do(bpf.NUMBER, 1, number=1),
                Do(bpf.ADD_TO_LONG, 2, 1, UNREAD),
            ],
            "publish": [
                Do(bpf.LOAD_LONG, 1, 10, _PLACE),
                Do(bpf.ADD_NUMBER, 1, number=1),
                Do(bpf.AND_NUMBER, 1, number=SEQUENCES),
                Do(bpf.STORE_WORD, 8, 1, INDEX + 4 * SEQUENCE),
            ],
            "ring": _ring(bell),
            "unheard": [Do(bpf.STORE_LONG, 9, 1, AWAKE)],  # the next frame tries again
            "taken": [Do(bpf.NUMBER, 0, number=_NONE), Do(bpf.EXIT)],
            "leave": [Do(bpf.NUMBER, 0, number=_ALL), Do(bpf.EXIT)],
        }
    )


def _room(layout: Layout) -> Sequence[Do]:
    """Leave the frame to the socket where too many pieces or entries are in use, or their counts come to an end."""
    return [
        Do(bpf.LOAD_LONG, 1, 8, TAIL),
        Do(bpf.LOAD_LONG, 2, 8, HEAD),  # in this order: what was taken meanwhile is no reason to see no room
        Do(bpf.MOVE, 3, 2),
        Do(bpf.SUBTRACT, 3, 1),
        Do(bpf.MOVE, 4, 3),
        Do(bpf.SHIFT_RIGHT, 4, number=FRAMES),
        Do(bpf.JUMP_IF_MORE, 4, number=layout.room, to="leave"),
        Do(bpf.SHIFT_LEFT, 3, number=64 - FRAMES),
        Do(bpf.SHIFT_RIGHT, 3, number=64 - FRAMES),
        Do(bpf.JUMP_IF_MORE, 3, number=layout.room, to="leave"),
        Do(bpf.SHIFT_LEFT, 2, number=64 - FRAMES),
        Do(bpf.SHIFT_RIGHT, 2, number=64 - FRAMES + 32),
        Do(bpf.JUMP_IF_MORE, 2, number=(1 << FRAMES - 32) - 2, to="leave"),
    ]


def _reserve(layout: Layout) -> Sequence[Do]:
    """Count the frame and its pieces: r9 is its first piece's number then, r8 + INDEX where its entry begins."""
    return [
        Do(bpf.STORE_LONG, 10, 8, _SHARED),
        Do(bpf.MOVE, 9, 7),
        Do(bpf.ADD_NUMBER, 9, number=PIECE - 1),
        Do(bpf.SHIFT_RIGHT, 9, number=PIECE.bit_length() - 1),
        Do(bpf.NUMBER, 1, number=1),
        Do(bpf.SHIFT_LEFT, 1, number=FRAMES),
        Do(bpf.ADD, 9, 1),
        Do(bpf.ADD_TO_LONG, 8, 9, HEAD, bpf.FETCH),
        Do(bpf.MOVE, 1, 9),
        Do(bpf.SHIFT_RIGHT, 1, number=FRAMES),
        Do(bpf.STORE_LONG, 10, 1, _PLACE),
        Do(bpf.AND_NUMBER, 1, number=layout.entries - 1),
        Do(bpf.SHIFT_LEFT, 1, number=ENTRY.bit_length() - 1),
        Do(bpf.ADD, 8, 1),
        Do(bpf.AND_NUMBER, 9, number=layout.entries - 1),
    ]


_ENTRY = (
    Do(bpf.STORE_WORD, 8, 7, INDEX + 4 * LENGTH),
    Do(bpf.LOAD_WORD, 1, 6, _INTERFACE),
    Do(bpf.STORE_WORD, 8, 1, INDEX + 4 * INTERFACE),
    Do(bpf.NUMBER, 2),
    Do(bpf.LOAD_WORD, 1, 6, _VLAN),
    Do(bpf.JUMP_IF_EQUAL, 1, to="untagged"),
    Do(bpf.LOAD_WORD, 2, 6, _VLAN_TYPE),
    Do(bpf.BIG_ENDIAN, 2, number=16),
    Do(bpf.SHIFT_LEFT, 2, number=16),
    Do(bpf.LOAD_WORD, 1, 6, _VLAN_TAG),
    Do(bpf.OR, 2, 1),
)
"""What is told of the frame; its tag is in r2 then, or 0."""


def _checksum(facts: Facts) -> Sequence[Do]:
    """Fill in the tag, and what the kernel knows of the checksum."""
    return [
        Do(bpf.STORE_WORD, 8, 2, INDEX + 4 * TAG),
        *_read(bpf.LOAD_WORD, facts.word, facts),
        Do(bpf.STORE_WORD, 8, 0, INDEX + 4 * CHECKSUM),
    ]


def _stamp(facts: Facts) -> Sequence[Do]:
    """Fill in the place and the packet type; r0 is the frame's stamp, if it has one. What leaves would have it now."""
    return [
        Do(bpf.LOAD_WORD, 2, 6, _PACKET_TYPE),
        Do(bpf.MOVE, 1, 2),
        Do(bpf.SHIFT_LEFT, 1, number=KIND),
        Do(bpf.OR, 1, 9),
        Do(bpf.STORE_WORD, 8, 1, INDEX + 4 * PLACE),
        Do(bpf.JUMP_IF_EQUAL, 2, number=OUTGOING, to="clock"),
        Do(bpf.AND_NUMBER, 0, number=facts.clock),
        Do(bpf.JUMP_UNLESS_EQUAL, 0, to="clock"),
        *_read(bpf.LOAD_LONG, facts.stamp, facts),
        Do(bpf.JUMP_IF_EQUAL, 0, to="clock"),
        Do(bpf.LOAD_WORD, 1, 8, INDEX + 4 * PLACE),
        Do(bpf.OR_NUMBER, 1, number=STAMPED),
        Do(bpf.STORE_WORD, 8, 1, INDEX + 4 * PLACE),
        Do(bpf.JUMP, to="time"),
    ]


def _read(how: int, place: int, facts: Facts) -> Sequence[Do]:
    """Have r0 be the word or long at that byte of the frame's struct sk_buff.

    The cast is no call in the end (fixup_kfunc_call, kernel/bpf/verifier.c): a move. Without it a helper reads.
    """
    if facts.cast:
        return [Do(bpf.MOVE, 1, 6), Do(bpf.CALL, 0, bpf.KERNEL, number=facts.cast), Do(how, 0, 0, place)]
    return [
        Do(bpf.MOVE, 1, 10),
        Do(bpf.ADD_NUMBER, 1, number=_READ),
        Do(bpf.NUMBER, 2, number=4 if how == bpf.LOAD_WORD else 8),
        Do(bpf.MOVE, 3, 6),
        Do(bpf.ADD_NUMBER, 3, number=place),
        Do(bpf.CALL, number=_PROBE_READ_KERNEL),
        Do(how, 0, 10, _READ),
    ]


def _ring(bell: int) -> Sequence[Do]:
    """Wake the reader if it sleeps. HEAD, which it looks at once more after it said so, was counted before this."""
    return [
        Do(bpf.LOAD_LONG, 9, 10, _SHARED),
        Do(bpf.LOAD_LONG, 1, 9, AWAKE),
        Do(bpf.JUMP_UNLESS_EQUAL, 1, to="taken"),
        Do(bpf.NUMBER, 1, number=1),
        Do(bpf.STORE_LONG, 9, 1, AWAKE),
        *bpf.load_map(1, bell),
        Do(bpf.MOVE, 2, 10),
        Do(bpf.ADD_NUMBER, 2, number=_PLACE),
        Do(bpf.NUMBER, 3, number=BELL - _HEADER),
        Do(bpf.NUMBER, 4, number=_FORCE_WAKEUP),
        Do(bpf.CALL, number=_RINGBUF_OUTPUT),
        Do(bpf.NUMBER, 1),
        Do(bpf.JUMP_UNLESS_EQUAL, 0, to="unheard"),
        Do(bpf.NUMBER, 1, number=1),
        Do(bpf.ADD_TO_LONG, 9, 1, RUNG),
        Do(bpf.JUMP, to="taken"),
    ]
