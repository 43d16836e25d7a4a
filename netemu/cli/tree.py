"""A topology drawn for a terminal: from its middle outwards, each edge a line, each host told where it first comes.

Tunnels come last: their ends are on hosts that have a place already.

What has but one way on is not indented, so that a line of two hundred routers is two hundred lines, not a staircase.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass

from rich.text import Text

from netemu.cli.shape import Edge, End, Shape

_Node = tuple[str, str]
"""`host` or `network`, and its name: one of each kind may have the same."""


@dataclass(frozen=True, slots=True)
class _Branch:
    """One edge as it is walked, from the nearer node to the farther; `loop` if that has a place already."""

    near: End
    far: End
    loop: bool


def tree(drawn: Shape) -> Iterator[Text]:
    """The lines of the drawing, without the heading."""
    around = _around(drawn.edges)
    pending = {("host", name) for name in drawn.hosts} | {("network", name) for name in drawn.networks}
    order = [*(("network", name) for name in drawn.networks), *(("host", name) for name in drawn.hosts)]
    first = True
    while pending:
        if not first:
            yield Text()
        first = False
        start = _start([node for node in order if node in pending], around)
        branches = _spanning(start, around, pending)
        yield _told(start, drawn)
        yield from _lines(start, branches, drawn)
    for place, tunnel in enumerate(drawn.tunnels):
        if not place:
            yield Text()
        between = Text(", " if tunnel.shared else " ══ ", "dim")
        yield Text.assemble(between.join([_end(end) for end in tunnel.ends]), (f"   {tunnel.name}", "italic"))


def _around(edges: tuple[Edge, ...]) -> dict[_Node, list[tuple[End, End]]]:
    """Each node's edges, as (its own end, the other end)."""
    around: dict[_Node, list[tuple[End, End]]] = defaultdict(list)
    for edge in edges:
        around[_node(edge.one)].append((edge.one, edge.other))
        around[_node(edge.other)].append((edge.other, edge.one))
    return around


def _node(end: End) -> _Node:
    return ("host" if end.interface else "network", end.node)


def _start(nodes: list[_Node], around: dict[_Node, list[tuple[End, End]]]) -> _Node:
    """Where to begin: at the node with most edges; at an end, where all is one line longer than two edges.

    A network is no end of a wire: where one has two members on a line, it is begun with.
    """
    most = max(nodes, key=lambda node: len(around[node]))
    ends = [node for node in nodes if len(around[node]) == 1]
    if len(around[most]) > 2 or not ends or all(_node(far) in ends for _, far in around[most]):
        return most
    return next((node for node in nodes if node[0] == "network" and len(around[node]) > 1), ends[0])


def _spanning(
    start: _Node, around: dict[_Node, list[tuple[End, End]]], pending: set[_Node]
) -> dict[_Node, list[_Branch]]:
    """Every edge once, at the node from which it is first reached: breadth first, but one way round along a ring."""
    branches: dict[_Node, list[_Branch]] = defaultdict(list)
    walked: set[frozenset[End]] = set()
    line = len(around[start]) <= 2
    queue = deque([start])
    pending.discard(start)
    while queue:
        node = queue.pop() if line else queue.popleft()
        for near, far in around[node]:
            if (edge := frozenset((near, far))) in walked:
                continue
            walked.add(edge)
            other = _node(far)
            branches[node].append(_Branch(near, far, other not in pending))
            if other in pending:
                pending.discard(other)
                if line:
                    queue.extend((node, other))  # its other ways when this one has come to its end
                    break
                queue.append(other)
    return branches


def _lines(start: _Node, branches: dict[_Node, list[_Branch]], drawn: Shape) -> Iterator[Text]:
    stack = [(branch, place) for branch, place in _placed(branches[start], "")]
    while stack:
        branch, (mark, below) = stack.pop(0)
        line = Text.assemble((mark, "dim"), _line(branch, drawn))
        onward = [] if branch.loop else branches[_node(branch.far)]
        if len(onward) == 1 and not branch.far.interface:  # a network between two is passed through on the same line
            (branch,) = onward
            line.append_text(Text.assemble((" ── ", "dim"), _line(branch, drawn)))
            onward = [] if branch.loop else branches[_node(branch.far)]
        yield line
        stack[:0] = _placed(onward, below)


def _placed(branches: list[_Branch], below: str) -> list[tuple[_Branch, tuple[str, str]]]:
    """Each branch with what stands before its own line, and before the lines below it."""
    if len(branches) == 1:
        return [(branches[0], (below, below))]
    last = len(branches) - 1
    return [
        (branch, (below + ("└─ " if place == last else "├─ "), below + ("   " if place == last else "│  ")))
        for place, branch in enumerate(branches)
    ]


def _line(branch: _Branch, drawn: Shape) -> Text:
    """A member of a network by its end alone; else both ends."""
    parts: list[Text] = []
    if branch.near.interface:
        parts += [_end(branch.near), Text(" ── ", "dim")]
    parts.append(_end(branch.far))
    if branch.loop:
        parts.append(Text("   closes a loop", "dim"))
    elif branch.far.interface and (about := drawn.hosts[branch.far.node]):
        parts.append(Text(f"   {about}", "italic"))
    return Text.assemble(*parts)


def _end(end: End) -> Text:
    if not end.interface:
        return Text(end.node, "bold cyan")
    addresses = f" {', '.join(end.addresses)}" if end.addresses else ""
    return Text.assemble((end.node, "bold"), f":{end.interface}", (addresses, "green"))


def _told(node: _Node, drawn: Shape) -> Text:
    kind, name = node
    if kind == "network":
        return Text(name, "bold cyan")
    about = drawn.hosts[name]
    return Text.assemble((name, "bold"), (f"   {about}" if about else "", "italic"))
