"""What a rule of iptables' nat table, as iptables-save prints it, surely does not do.

No trace shows such rules under iptables-legacy, only their counters: which packets a rule could have matched, and
what it could have made of them, is read off its text. Whatever is not understood here counts as possible.
"""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from netemu.netfilter.conntrack import Tuple
from netemu.netfilter.hooks import Manip
from netemu.netfilter.ruleset import Rule

_BASE_CHAINS = {"prerouting": "PREROUTING", "input": "INPUT", "output": "OUTPUT", "postrouting": "POSTROUTING"}
_MANIPS: dict[str, Manip] = {"DNAT": "dst", "REDIRECT": "dst", "SNAT": "src", "MASQUERADE": "src"}
_GOES_ON = {"", "LOG", "NFLOG", "MARK", "CONNMARK", "TRACE", "CLASSIFY", "TOS", "DSCP", "SET", "AUDIT", "RETURN"}
"""Targets after which the walk goes on (RETURN: in the chain before), so that they make no rewrite."""
_PORTS = {"tcp", "udp", "udplite", "sctp", "dccp"}
_PROTOCOLS = {"ipv6-icmp": "icmp6", "icmpv6": "icmp6"}
_NUMBERS = {"1": "icmp", "6": "tcp", "17": "udp", "58": "icmp6"}
_MATCHES = {
    "-s": "src",
    "-d": "dst",
    "-p": "proto",
    "--sport": "sport",
    "--dport": "dport",
    "--sports": "sport",
    "--dports": "dport",
}


@dataclass(frozen=True, slots=True)
class Terms:
    """A rule taken apart: its target, and those of its criteria that are understood, as (what, value, negated)."""

    target: str = ""
    criteria: tuple[tuple[str, str, bool], ...] = ()
    to: str | None = None


def base_chain(hook: str) -> str:
    """The nat table's chain at a hook."""
    return _BASE_CHAINS[hook]


def terms(text: str) -> Terms:
    """A rule's text taken apart."""
    try:
        words = shlex.split(text)
    except ValueError:
        return Terms("?")
    criteria: list[tuple[str, str, bool]] = []
    target, to, negated = "", None, False
    for word, value in zip(words, [*words[1:], ""], strict=True):
        if word in ("-j", "-g"):
            target = value
        elif word in ("--to-destination", "--to-source"):
            to = value
        elif word in _MATCHES:
            criteria.append((_MATCHES[word], value, negated))
        negated = word == "!"
    return Terms(target, tuple(criteria), to)


def could_match(rule: Terms, packet: Tuple) -> bool:
    """Whether the rule may match the packet: False only where one of its criteria surely does not hold."""
    return not any(_fails(what, value, negated, packet) for what, value, negated in rule.criteria)


def could_be_of(rule: Terms, proto: str) -> bool:
    """Whether the rule is for packets of this protocol, or says nothing of one."""
    criteria = [(value, negated) for what, value, negated in rule.criteria if what == "proto"]
    return not any(_fails("proto", value, negated, Tuple(proto, "", None, "", None)) for value, negated in criteria)


def _fails(what: str, value: str, negated: bool, packet: Tuple) -> bool:
    holds: bool | None
    if what in ("src", "dst"):
        holds = _within(getattr(packet, what), value)
    elif what == "proto":
        wanted = _PROTOCOLS.get(value, _NUMBERS.get(value, value))
        holds = None if wanted in ("all", "0") else wanted == packet.proto
    else:
        port = getattr(packet, what)
        holds = _among(port, value) if packet.proto in _PORTS and port is not None else None
    return holds is not None and holds == negated


def _within(address: str, network: str) -> bool | None:
    try:
        return ip_address(address) in ip_network(network, strict=False)
    except ValueError:
        return None


def _among(port: int, ports: str) -> bool | None:
    try:
        ranges = [(part.partition(":")[0] or "0", part.rpartition(":")[2] or "65535") for part in ports.split(",")]
        return any(int(low) <= port <= int(high) for low, high in ranges)
    except ValueError:
        return None


def could_make(rule: Terms, manip: Manip, before: Tuple, after: Tuple) -> bool:
    """Whether the rule, if it ended the walk, may have made `after` of `before` at a hook that sets up `manip`."""
    if rule.target in _GOES_ON:
        return False
    (was, _), (now, port) = _end(before, manip), _end(after, manip)
    if rule.target == "ACCEPT":
        return was == now  # the port may change all the same, in the search for a free tuple
    made = _MANIPS.get(rule.target)
    if made is not None and made != manip:
        return False
    return rule.to is None or _to_fits(rule.to, now, port if after.proto in _PORTS else None)


def _end(packet: Tuple, manip: Manip) -> tuple[str, int | None]:
    return (packet.src, packet.sport) if manip == "src" else (packet.dst, packet.dport)


def _to_fits(to: str, address: str, port: int | None) -> bool:
    """Whether `--to-destination` or `--to-source` (ADDRESS[-ADDRESS][:PORT[-PORT]]) allows this address and port."""
    if to.startswith("["):
        addresses, _, ports = to[1:].partition("]")
        ports = ports.removeprefix(":")
    elif to.count(":") > 1:
        addresses, ports = to, ""
    else:
        addresses, _, ports = to.partition(":")
    low, _, high = addresses.partition("-")
    try:
        if addresses and not ip_address(low) <= ip_address(address) <= ip_address(high or low):  # type: ignore[operator]
            return False
    except (ValueError, TypeError):
        return True
    if port is None or not ports:
        return True
    least, _, most = ports.partition("/")[0].partition("-")
    try:
        return int(least) <= port <= int(most or least)
    except ValueError:
        return True


def reachable(rules: Iterable[Rule]) -> dict[str, frozenset[str]]:
    """The chains that a walk from each chain may come through, itself among them."""
    jumps: dict[str, set[str]] = defaultdict(set)
    chains: set[str] = set(_BASE_CHAINS.values())
    for rule in rules:
        chains.add(rule.chain)
        jumps[rule.chain].add(terms(rule.text).target)
    found: dict[str, frozenset[str]] = {}
    for chain in chains:
        seen, waiting = {chain}, [chain]
        while waiting:
            for other in jumps[waiting.pop()] & chains - seen:
                seen.add(other)
                waiting.append(other)
        found[chain] = frozenset(seen)
    return found


def ends_walk(rule: Terms, chains: Iterable[str]) -> bool:
    """Whether the rule may end the walk: not one that jumps to one of these chains, or goes on."""
    return rule.target not in _GOES_ON and rule.target not in chains
