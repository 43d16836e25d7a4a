"""A sequence of all that a record has of something, which called gives what is asked for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TypeVar, Unpack

from netemu.errors import UsageError
from netemu.record.ask.select import Words

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Askable(Sequence[T_co]):
    """A sequence of all; called, those that a text in pcap's manner and all words fit."""

    @abstractmethod
    def __call__(self, text: str = "", **words: Unpack[Words]) -> Sequence[T_co]:
        """Those that are asked for, in order. Raises UsageError on a word, host, point or value that there is not."""


class ByHand(list[T], Askable[T]):
    """What somebody put together: there are no columns that could be asked."""

    def __call__(self, _: str = "", **_words: Unpack[Words]) -> Sequence[T]:
        """Raise UsageError."""
        raise UsageError("a record that is not ended yet, or was put together by hand, can't be asked")
