"""Topologies of a regular shape, with addresses and routes worked out: star, line, ring, tree and full mesh."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, Literal, get_args

from netemu.errors import UsageError
from netemu.topology.changing import changed
from netemu.topology.load import renamed
from netemu.topology.model import Topology
from netemu.topology.shaping import LinkProperties
from netemu.topology.strict import of_shape

Shape = Literal["star", "line", "ring", "tree", "mesh"]
LEAST: Mapping[Shape, int] = {"star": 1, "line": 2, "ring": 3, "tree": 2, "mesh": 2}
MOST_HOSTS = 10_000
MOST_LINKS = 20_000
FARTHEST = 250
"""Hosts in a row: a packet's TTL is 255 at most (RFC 791)."""
_OFTEN_TTL = 60
_STAR4, _STAR6 = IPv4Network("10.0.0.0/16"), IPv6Network("fd00::/64")
_LINKS4, _LINKS6 = int(IPv4Address("10.0.0.0")), int(IPv6Address("fd00::"))
_BITS = 2
"""A link's subnet has four addresses: the first end has the second of them, the other end the third."""


@dataclass(frozen=True, slots=True)
class _Way:
    """A way out of a node: over which link, to which node; `side` is 1 for the end that is named first."""

    link: int
    side: int
    to: int


def generate(
    shape: Shape,
    size: int,
    *,
    name: str | None = None,
    fanout: int = 2,
    ipv4: bool = True,
    ipv6: bool = False,
    properties: LinkProperties | Mapping[str, str] | None = None,
    traffic: bool = False,
) -> Topology:
    """A topology of `size` hosts, in which every host reaches every address.

    star: hosts h1, h2, … on one network. line, ring: routers r1, r2, … linked in a row, or round. tree: filled level by
    level, each router with `fanout` below it; those at the end are hosts. mesh: routers, each linked to each.
    `properties` are every link's, in both directions; with `traffic` the first host asks a web server on the last.

    Raises UsageError if there is no such topology.
    """
    if shape not in get_args(Shape):
        raise UsageError(f"no shape '{shape}': there are {', '.join(get_args(Shape))}")
    for what, number in (("size", size), ("fanout", fanout)):
        if not isinstance(number, int) or isinstance(number, bool):
            raise UsageError(f"{number!r} is no {what}: a whole number is due")
    links = size * (size - 1) // 2 if shape == "mesh" else size
    if not LEAST[shape] <= size <= MOST_HOSTS or links > MOST_LINKS:
        most = int((2 * MOST_LINKS) ** 0.5) if shape == "mesh" else MOST_HOSTS
        raise UsageError(f"a {shape} of {size} hosts: {LEAST[shape]} to {most} can be made")
    if fanout < 1:
        raise UsageError(f"a fanout of {fanout}: each router of a tree has 1 below it at least")
    if not (ipv4 or ipv6):
        raise UsageError("neither IPv4 nor IPv6: hosts need addresses")
    given = properties if isinstance(properties, LinkProperties) else changed(None, properties or {})
    document: dict[str, Any] = {"name": f"{shape}{size}"}
    if shape == "star":
        document |= _star(size, ipv4, ipv6, given)
    else:
        document |= _Linked(shape, size, fanout).document(ipv4, ipv6, given)
    if traffic:
        _add_traffic(document)
    made = of_shape(Topology, document)  # fit by the way it is made: verifying a large mesh takes seconds
    return made if name is None else renamed(made, name)


def _star(size: int, ipv4: bool, ipv6: bool, properties: LinkProperties) -> dict[str, Any]:
    both: dict[str, Any] = {"egress": properties, "ingress": properties} if properties.given() else {}
    hosts = {}
    for number in range(1, size + 1):
        addresses = [f"{_STAR4[number]}/{_STAR4.prefixlen}"] if ipv4 else []
        addresses += [f"{_STAR6[number]}/{_STAR6.prefixlen}"] if ipv6 else []
        hosts[f"h{number}"] = {"interfaces": {"eth0": {"network": "lan", "addresses": addresses, **both}}}
    return {"networks": {"lan": {}}, "hosts": hosts}


class _Linked:
    """Nodes linked to each other, numbered from 0; links' numbers give their subnets."""

    def __init__(self, shape: Shape, size: int, fanout: int) -> None:
        self.shape, self.size = shape, size
        self.ends = list(_ends(shape, size, fanout))
        self.block = 1
        if shape == "mesh":  # a node's links to those after it share a block, so that one route leads to them all
            while self.block < size:
                self.block *= 2
        self.ways: list[list[_Way]] = [[] for _ in range(size)]
        for link, (one, other) in enumerate(self.ends):
            self.ways[one].append(_Way(link, 1, other))
            self.ways[other].append(_Way(link, 2, one))
        self.names = [self._name(node) for node in range(size)]

    def document(self, ipv4: bool, ipv6: bool, properties: LinkProperties) -> dict[str, Any]:
        """Hosts and links, as a topology file has them."""
        hosts = {self.names[node]: self._host(node, ipv4, ipv6) for node in range(self.size)}
        if self._diameter() > FARTHEST:
            raise UsageError(f"a {self.shape} of {self.size}: packets do not get farther than {FARTHEST} hosts")
        if self._diameter() > _OFTEN_TTL:
            for host in hosts.values():
                host["sysctls"] = ({"net.ipv4.ip_default_ttl": 255} if ipv4 else {}) | (
                    {"net.ipv6.conf.all.hop_limit": 255, "net.ipv6.conf.default.hop_limit": 255} if ipv6 else {}
                )
        ends = [
            {"endpoints": [self._end(one, link), self._end(other, link)], **properties.given()}
            for link, (one, other) in enumerate(self.ends)
        ]
        return {"hosts": hosts, "links": ends}

    def _name(self, node: int) -> str:
        leaf = self.shape == "tree" and len(self.ways[node]) == 1 and node > 0
        return f"{'h' if leaf else 'r'}{node + 1}"

    def _host(self, node: int, ipv4: bool, ipv6: bool) -> dict[str, Any]:
        interfaces = {
            self._interface(node, way.link): {"addresses": self._addresses(way, ipv4, ipv6)} for way in self.ways[node]
        }
        host: dict[str, Any] = {"interfaces": interfaces}
        if len(self.ways[node]) > 1:
            host["forwarding"] = True
        routes = [
            *(self._routes(node, _LINKS4, 32) if ipv4 else ()),
            *(self._routes(node, _LINKS6, 128) if ipv6 else ()),
        ]
        return host | ({"routes": routes} if routes else {})

    def _interface(self, node: int, link: int) -> str:
        return f"eth{next(place for place, way in enumerate(self.ways[node]) if way.link == link)}"

    def _end(self, node: int, link: int) -> str:
        return f"{self.names[node]}:{self._interface(node, link)}"

    def _place(self, link: int) -> int:
        """Which subnet of all is a link's."""
        if self.shape != "mesh":
            return link
        one, other = self.ends[link]
        return one * self.block + other

    def _addresses(self, way: _Way, ipv4: bool, ipv6: bool) -> list[str]:
        offset = (self._place(way.link) << _BITS) + way.side
        return [f"{IPv4Address(_LINKS4 + offset)}/{32 - _BITS}"] * ipv4 + [
            f"{IPv6Address(_LINKS6 + offset)}/{128 - _BITS}"
        ] * ipv6

    def _gateway(self, way: _Way, base: int, bits: int) -> str:
        number = base + (self._place(way.link) << _BITS) + 3 - way.side
        return str(IPv4Address(number) if bits == 32 else IPv6Address(number))

    def _routes(self, node: int, base: int, bits: int) -> list[dict[str, str]]:
        """A node with one link sends everything there; any other has a route for each run of links beyond a way."""
        ways = self.ways[node]
        if len(ways) == 1:
            return [{"to": "default", "via": self._gateway(ways[0], base, bits)}] if len(self.ends) > 1 else []
        found = []
        for first, last, way in self._runs(node):
            for start, length in _aligned(first, last):
                number, prefix = base + (start << _BITS), bits - _BITS - length
                to = IPv4Network((number, prefix)) if bits == 32 else IPv6Network((number, prefix))
                found.append({"to": str(to), "via": self._gateway(way, base, bits)})
        return found

    def _runs(self, node: int) -> Iterator[tuple[int, int, _Way]]:
        """Runs of subnets that are not the node's own, first and last, each with the way there."""
        if self.shape == "mesh":
            for way in self.ways[node]:
                yield way.to * self.block, (way.to + 1) * self.block - 1, way
            return
        first = self._first_ways(node)
        own = {way.link for way in self.ways[node]}
        run: tuple[int, int, _Way] | None = None
        for link, way in enumerate(first):
            if run is not None and (link in own or way != run[2]):
                yield run
                run = None
            if link not in own:
                run = (run[0] if run is not None else link, link, way)
        if run is not None:
            yield run

    def _first_ways(self, node: int) -> Sequence[_Way]:
        """For each link the way on which a shortest path to it begins."""
        first: dict[int, _Way] = {}
        ahead: deque[tuple[int, _Way | None]] = deque([(node, None)])
        seen = {node}
        while ahead:
            here, begun = ahead.popleft()
            for way in self.ways[here]:
                start = begun or way
                first.setdefault(way.link, start)
                if way.to not in seen:
                    seen.add(way.to)
                    ahead.append((way.to, start))
        return [first[link] for link in range(len(self.ends))]

    def _diameter(self) -> int:
        """Hosts on the longest shortest path, or a little more."""
        depth, ahead, seen = 0, [0], {0}
        while ahead:
            depth += 1
            ahead = [way.to for node in ahead for way in self.ways[node] if way.to not in seen]
            seen.update(ahead)
        return depth if self.shape in ("line", "ring", "mesh") else 2 * depth


def _ends(shape: Shape, size: int, fanout: int) -> Iterator[tuple[int, int]]:
    if shape == "mesh":
        yield from ((one, other) for one in range(size) for other in range(one + 1, size))
    elif shape == "tree":
        yield from _tree(size, fanout)
    else:
        yield from ((node, node + 1) for node in range(size - 1))
        if shape == "ring":
            yield size - 1, 0


def _tree(size: int, fanout: int) -> Iterator[tuple[int, int]]:
    """A tree's links, each subtree's together, so that few routes lead there."""
    below = [list(range(node * fanout + 1, min(node * fanout + fanout, size - 1) + 1)) for node in range(size)]
    ahead = [(0, child) for child in reversed(below[0])]
    while ahead:
        parent, node = ahead.pop()
        yield parent, node
        ahead += [(node, child) for child in reversed(below[node])]


def _aligned(first: int, last: int) -> Iterator[tuple[int, int]]:
    """A run of subnets as the fewest prefixes: where each begins, and how many bits it spans."""
    while first <= last:
        length = (first & -first).bit_length() - 1 if first else last.bit_length()
        while (1 << length) > last - first + 1:
            length -= 1
        yield first, length
        first += 1 << length


def _add_traffic(document: dict[str, Any]) -> None:
    hosts = document["hosts"]
    first, last = next(iter(hosts)), next(reversed(hosts))
    address = next(iter(hosts[last]["interfaces"].values()))["addresses"][0].partition("/")[0]
    hosts[last]["services"] = {"web": {"command": ["python3", "-m", "http.server", "80"], "ready": {"tcp": 80}}}
    url = f"http://[{address}]/" if ":" in address else f"http://{address}/"
    document["traffic"] = [{"name": "first-to-last", "from": first, "http": url}]
