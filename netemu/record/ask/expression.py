"""Text in the manner of pcap-filter(7), read to what it asks: words joined by and, or, not and parentheses.

Understood is what columns can tell: `[SIDE] host|net|port|portrange X` (`src`, `dst`, `src or dst`, `src and dst`), an
address by itself, the protocols by name, `ip`, `ip6`, `vlan`, `greater N`, `less N` (frame lengths, both included),
TCP's flags as words (`syn`), and `at POINT`. `and` and `or` bind alike, from left to right, and `not` binds tighter, as
pcap has it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from netemu.errors import UsageError
from netemu.topology.naming import hint

PROTOCOLS = ("tcp", "udp", "icmp", "icmp6", "sctp", "dccp", "udplite", "gre", "igmp")
FLAGS = {"fin": 0x01, "syn": 0x02, "rst": 0x04, "psh": 0x08, "ack": 0x10, "urg": 0x20}
_SIDES = ("src", "dst")
_KINDS = ("host", "net", "port", "portrange")
_JOINS = {"and": "and", "&&": "and", "or": "or", "||": "or"}
_NOT = ("not", "!")
_WORDS = (*_SIDES, *_KINDS, *PROTOCOLS, *FLAGS, *("ip", "ip6", "vlan", "greater", "less", "at", "and", "or", "not"))
_TOKEN = re.compile(r"\s*(\(|\)|&&|\|\||!|[^\s()!&|]+)")
_DEEPEST = 50

Term = tuple[str, str, str, int]
"""What is asked (`host`, `flag`, …), of which side (`src`, `dst`, or empty for either), its value, its place."""


@dataclass(frozen=True, slots=True)
class _Token:
    word: str
    place: int


def evaluate(text: str, term: Callable[[Term], Any]) -> Any:
    """What the text says, where `term` says what one term does; results are joined by &, | and ~.

    Raises UsageError, with the place in the text, on what can't be read.
    """
    return _Reader(text, term).whole()


def complain(text: str, place: int, why: str) -> UsageError:
    """An error that shows where in the text it is."""
    return UsageError(f"{why}, at character {place + 1} of '{text}'")


class _Reader:
    """A recursive descent over the tokens."""

    def __init__(self, text: str, term: Callable[[Term], Any]) -> None:
        self.text = text
        self.term = term
        self.tokens = _tokens(text)
        self.at = 0
        self.depth = 0

    def whole(self) -> Any:
        found = self._joined()
        if self.at < len(self.tokens):
            raise self._wrong(f"'{self._peek()}' is not expected here, write 'and' or 'or' before it")
        return found

    def _peek(self) -> str:
        return self.tokens[self.at].word if self.at < len(self.tokens) else ""

    def _next(self, what: str) -> _Token:
        if self.at == len(self.tokens):
            raise self._wrong(f"{what} is missing")
        self.at += 1
        return self.tokens[self.at - 1]

    def _wrong(self, why: str) -> UsageError:
        place = self.tokens[self.at].place if self.at < len(self.tokens) else len(self.text)
        return complain(self.text, place, why)

    def _joined(self) -> Any:
        found = self._negated()
        while self._peek() in _JOINS:
            join = _JOINS[self._next("a word").word]
            other = self._negated()
            found = found & other if join == "and" else found | other
        return found

    def _negated(self) -> Any:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise self._wrong(f"more than {_DEEPEST} parentheses inside each other")
        try:
            if self._peek() in _NOT:
                self.at += 1
                return ~self._negated()
            if self._peek() == "(":
                self.at += 1
                found = self._joined()
                if self._peek() != ")":
                    raise self._wrong("')' is missing")
                self.at += 1
                return found
            return self._primitive()
        finally:
            self.depth -= 1

    def _primitive(self) -> Any:
        """One term; `tcp port 80` is both of its words, as pcap has it."""
        token = self._next("a word, such as tcp or host 10.0.0.1,")
        word = token.word
        if word in _SIDES or word not in _WORDS or word in _KINDS:
            return self._of_side(token)
        if word in PROTOCOLS or word in ("ip", "ip6"):
            found = self.term(("proto", "", word, token.place))
            if self._peek() in (*_SIDES, *_KINDS):
                found = found & self._primitive()
            return found
        if word in FLAGS:
            return self.term(("flag", "", word, token.place))
        if word == "vlan":
            ends = ("", ")", *_JOINS)
            number = self._next("a number").word if self._peek() not in ends and self._peek() not in _WORDS else ""
            return self.term(("vlan", "", number, token.place))
        if word in ("greater", "less"):
            return self.term((word, "", self._next(f"the length behind '{word}'").word, token.place))
        if word == "at":
            return self._at()
        self.at -= 1
        raise self._wrong(f"'{word}' is not expected here")

    def _of_side(self, token: _Token) -> Any:
        """`src host 10.0.0.1`, and the same with less said."""
        word = token.word
        side = word if word in _SIDES else ""
        kind = word
        if side:
            side = self._sides(side)
            kind = self._next(f"what '{side}' is to be").word
        if kind in _KINDS:
            value = self._next(f"what '{kind}' is to be")
            return self._one_or_both(kind, side, value)
        if re.match(r"\d+\.\d|[0-9a-fA-F]*:", kind):
            return self._one_or_both("net" if "/" in kind else "host", side, self.tokens[self.at - 1])
        self.at -= 1
        if kind == "arp":
            raise self._wrong("ARP is on no journey: only IP packets are followed")
        if kind.startswith(("tcp[", "ip[")):
            raise self._wrong(f"bytes by their number are not looked at: write a flag's word, {', '.join(FLAGS)}")
        raise self._wrong(f"there is no word '{kind}'{hint(kind, _WORDS)}")

    def _sides(self, side: str) -> str:
        """`src or dst` and `src and dst` are sides, too."""
        join = _JOINS.get(self._peek())
        if join is None:
            return side
        other = self.tokens[self.at + 1].word if self.at + 1 < len(self.tokens) else ""
        if {side, other} != set(_SIDES):
            raise self._wrong(f"what '{side}' is to be is missing")
        self.at += 2
        return f"{side} {join} {other}"

    def _one_or_both(self, kind: str, side: str, value: _Token) -> Any:
        """A term of one side, of either, or of both."""
        if " and " in side:
            one, other = (self.term((kind, each, value.word, value.place)) for each in _SIDES)
            return one & other
        return self.term((kind, "" if " or " in side else side, value.word, value.place))

    def _at(self) -> Any:
        token = self._next("the point behind 'at'")
        word = token.word
        if self._peek() in ("in", "out"):
            word += f" {self._next('a way').word}"
        return self.term(("at", "", word, token.place))


def _tokens(text: str) -> list[_Token]:
    found, at, end = [], 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            raise complain(text, at, f"'{text[at:].strip()[:1]}' is no word")
        found.append(_Token(match[1], match.start(1)))
        at = match.end()
    return found
