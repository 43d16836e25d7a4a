"""Rules as `iptables-save -c` and `nft -a list ruleset` list them; and which line a restore tool complains about."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

_RULE = re.compile(r"^\[(\d+):(\d+)\] (-A (\S+).*)$")
_NOISE = re.compile(
    r"^\S*tables\S*-restore( v\S+( \(\S+\))?)?: (\S*tables\S*-restore: )?(line \d+:? (?!failed$))?"
    r"|Error occurred at line: \d+"
    r"|Try `[^`]*' for more information\.|^[^\s:]+:\d+:\d+-\d+: Error: ",
    re.MULTILINE,
)
_NFT = re.compile(r"[^\s:]+:\d+:\d+-\d+: ")
_QUOTED = re.compile(r'((?:match|target) )?"[^"]*"')
_TRACKS = re.compile(
    r"^\t\ttype nat hook |^\t\t(?!typeof )(.* )?(ct (?!count set)[a-z]\S*|masquerade|synproxy|flow add)(?= |$)"
    r'|xt match "?(conntrack|state|connmark|connlimit|connbytes|connlabel|helper|cluster|nat|socket)\b'
    r'|xt target "?(CT|CONNMARK|CONNSECMARK|SYNPROXY|SNAT|DNAT|MASQUERADE|REDIRECT|NETMAP)\b',
    re.MULTILINE,
)
_LEGACY_TRACKS = re.compile(
    r"-m (conntrack|state|connmark|connlimit|connbytes|connlabel|helper|cluster|socket)\b"
    r"|-j (CT|CONNMARK|CONNSECMARK|SYNPROXY)\b"
)
_TABLE = re.compile(r"^table (\S+) (\S+) \{")
_CHAIN = re.compile(r"^\tchain (\S+) \{")
_HANDLE = re.compile(r"^\t\t(.*?) *# handle (\d+)$")
_COUNTER = re.compile(r"counter packets (\d+) bytes \d+")
_LINE = re.compile(
    r"[Ee]rror occurred at line: (\d+)|\bline (\d+)(?: failed|:)|expected at line (\d+)|^[^\s:]+:([1-9]\d*):\d+-\d+: ",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: `position` counts from 0 in its chain; `handle` is nf_tables' own number, None under legacy.

    `text` is as the tool lists it; `packets` is the rule's counter, None where it has none; `legacy` tells a rule of
    iptables-legacy from one of the same place in nf_tables.
    """

    family: str
    table: str
    chain: str
    position: int
    text: str
    packets: int | None = None
    handle: int | None = None
    legacy: bool = False

    @property
    def line(self) -> str:
        """Its text with what else tells it from others: `ip6tables -A INPUT …`, or `inet filter input …` of nft's."""
        if self.text.startswith("-A "):
            return f"{'ip6tables' if self.family == 'ip6' else 'iptables'} {self.text}"
        return f"{self.family} {self.table} {self.chain} {self.text}"

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What tells this rule from every other of its host."""
        return f"legacy {self.family}" if self.legacy else self.family, self.table, self.chain, self.position


@dataclass(frozen=True, slots=True)
class Ruleset:
    """A host's rules as read back: each rule, and the base chains, for NAT and others, as (family, table, chain).

    `legacy` holds iptables-legacy's tables, as (family, table): no trace shows their rules.
    """

    rules: tuple[Rule, ...] = ()
    nat_chains: frozenset[tuple[str, str, str]] = frozenset()
    other_chains: frozenset[tuple[str, str, str]] = frozenset()
    legacy: frozenset[tuple[str, str]] = frozenset()

    def by_handle(self) -> dict[tuple[str, str, str, int], Rule]:
        """Each rule under (family, table, chain, handle)."""
        return {(r.family, r.table, r.chain, r.handle): r for r in self.rules if r.handle is not None}

    def packets_since(self, before: Ruleset) -> dict[tuple[str, str, str, int], int]:
        """What each counting rule counted since `before`, by the rule's key."""
        start = {rule.key: rule.packets or 0 for rule in before.rules}
        return {rule.key: rule.packets - start.get(rule.key, 0) for rule in self.rules if rule.packets is not None}


def saved_rules(text: str, family: str, legacy: bool = False) -> list[Rule]:
    """The rules in the output of iptables-save -c (family `ip`) or ip6tables-save -c (`ip6`), in order."""
    rules: list[Rule] = []
    table = ""
    count: dict[tuple[str, str], int] = {}
    for line in text.split("\n"):
        if line.startswith("*"):
            table = line[1:].strip()
        elif match := _RULE.match(line):
            chain = match[4]
            position = count.get((table, chain), 0)
            count[table, chain] = position + 1
            rules.append(Rule(family, table, chain, position, match[3].strip(), int(match[1]), legacy=legacy))
    return rules


def listed_rules(text: str) -> Ruleset:
    """The rules and the nat chains in the output of `nft -a list ruleset`, in order."""
    rules: list[Rule] = []
    nat: set[tuple[str, str, str]] = set()
    others: set[tuple[str, str, str]] = set()
    place: tuple[str, ...] = ()
    position = 0
    for line in text.split("\n"):
        words = line.split()
        if match := _TABLE.match(line):
            place = (match[1], match[2])
        elif match := _CHAIN.match(line):
            place, position = (*place[:2], match[1]), 0
        elif words == ["}"]:
            place = place[:-1] if len(place) == 3 else place
        elif len(place) == 3 and words[:1] == ["type"] and "hook" in words:
            (nat if words[1] == "nat" else others).add((place[0], place[1], place[2]))
        elif len(place) == 3 and (match := _HANDLE.match(line)):
            head, quote, comment = match[1].partition(' comment "')
            counter = _COUNTER.search(head)
            packets = int(counter[1]) if counter else None
            shown = " ".join(_COUNTER.sub("counter", head).split()) + quote + comment
            rules.append(Rule(place[0], place[1], place[2], position, shown, packets, int(match[2])))
            position += 1
    return Ruleset(tuple(rules), frozenset(nat), frozenset(others))


def uses_conntrack(text: str) -> bool:
    """Whether rules in the output of `nft list ruleset` switch connection tracking on.

    NAT chains do (nf_nat_inet_register_fn), and every expression or extension that looks at a packet's entry
    (nft_ct_get_init, the xt_… modules' checkentry), each by nf_ct_netns_get. Comments and names do not count.
    """
    return _TRACKS.search(_QUOTED.sub(lambda match: match[0] if match[1] else '""', text)) is not None


def legacy_uses_conntrack(rules: list[Rule]) -> bool:
    """Whether rules of iptables-legacy switch connection tracking on; its nat table does so by itself."""
    return any(rule.table == "nat" or _LEGACY_TRACKS.search(_QUOTED.sub('""', rule.text)) for rule in rules)


def tied(saved: list[Rule], listed: Ruleset) -> Ruleset:
    """iptables' rules with nf_tables' handles, by their place in their chain; then those iptables does not list."""
    handles = {rule.key: rule.handle for rule in listed.rules}
    owned = {(rule.family, rule.table) for rule in saved}
    others = tuple(rule for rule in listed.rules if (rule.family, rule.table) not in owned)
    return replace(listed, rules=tuple(replace(rule, handle=handles.get(rule.key)) for rule in saved) + others)


def complained_line(message: str) -> int | None:
    """The 1-based line of its input that iptables-restore or nft complains about, if it says so."""
    match = _LINE.search(message)
    if match is None:
        return None
    return int(next(group for group in match.groups() if group is not None))


def complaint(message: str) -> str:
    """What a restore tool complains about, in one line, without the parts that only speak of its own input."""
    said = message.strip().splitlines()
    if said and _NFT.match(said[0]):
        said = said[:1]  # nft goes on with the text itself, marked
    return " ".join(_NOISE.sub(" ", "\n".join(said)).split()) or "it did not say why"


def committed_part(text: str, lines: int) -> str:
    """The first lines of an iptables-restore text, its last table committed."""
    kept = text.splitlines()[:lines]
    opened = [line.strip() for line in kept if line.strip().startswith("*") or line.strip() == "COMMIT"]
    if opened and opened[-1] != "COMMIT":
        kept.append("COMMIT")
    return "\n".join([*kept, ""])
