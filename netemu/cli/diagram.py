"""A topology as text that other programs draw: a Mermaid flowchart, or Graphviz DOT."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from netemu.cli.shape import End, Shape


def mermaid(drawn: Shape) -> Iterator[str]:
    """A Mermaid flowchart: hosts are boxes, networks are rounded, an edge tells its ends' interfaces and addresses."""
    ids = _ids(drawn)
    yield "flowchart LR"
    for name, about in drawn.hosts.items():
        lines = "<br/>".join(_html(line) for line in (name, about) if line)
        yield f'  {ids["host", name]}["{lines}"]'
    for name in drawn.networks:
        yield f'  {ids["network", name]}(["{_html(name)}"])'
    for edge in drawn.edges:
        label = " · ".join(part for part in (_label(edge.one), _label(edge.other)) if part)
        yield f'  {_id(ids, edge.one)} ---|"{_html(label)}"| {_id(ids, edge.other)}'
    for place, tunnel in enumerate(drawn.tunnels, 1):
        if tunnel.shared:
            yield f'  v{place}(["{_html(tunnel.name)}"])'
            for end in tunnel.ends:
                yield f'  {_id(ids, end)} -.-|"{_html(_label(end))}"| v{place}'
        else:
            one, other = tunnel.ends
            label = " · ".join((tunnel.name, _label(one), _label(other)))
            yield f'  {_id(ids, one)} -.-|"{_html(label)}"| {_id(ids, other)}'


def dot(drawn: Shape) -> Iterator[str]:
    """A Graphviz graph, for `dot -Tsvg` and the like."""
    ids = _ids(drawn)
    yield f"graph {_quoted(drawn.name)} {{"
    yield "  node [shape=box]"
    for name, about in drawn.hosts.items():
        label = "\n".join(part for part in (name, about) if part)
        yield f"  {ids['host', name]} [label={_quoted(label)}]"
    for name in drawn.networks:
        yield f"  {ids['network', name]} [label={_quoted(name)}, shape=ellipse]"
    for edge in drawn.edges:
        ends = f"taillabel={_quoted(_label(edge.one))}, headlabel={_quoted(_label(edge.other))}"
        yield f"  {_id(ids, edge.one)} -- {_id(ids, edge.other)} [{ends}]"
    for place, tunnel in enumerate(drawn.tunnels, 1):
        if tunnel.shared:
            yield f"  v{place} [label={_quoted(tunnel.name)}, shape=ellipse, style=dashed]"
            for end in tunnel.ends:
                yield f"  {_id(ids, end)} -- v{place} [taillabel={_quoted(_label(end))}, style=dashed]"
        else:
            one, other = tunnel.ends
            ends = f"taillabel={_quoted(_label(one))}, headlabel={_quoted(_label(other))}"
            yield f"  {_id(ids, one)} -- {_id(ids, other)} [{ends}, label={_quoted(tunnel.name)}, style=dashed]"
    yield "}"


STYLES: dict[str, Callable[[Shape], Iterator[str]]] = {"mermaid": mermaid, "dot": dot}


def _ids(drawn: Shape) -> dict[tuple[str, str], str]:
    """An identifier for each node that no keyword of either language can be."""
    hosts = {("host", name): f"h{number}" for number, name in enumerate(drawn.hosts, 1)}
    return hosts | {("network", name): f"n{number}" for number, name in enumerate(drawn.networks, 1)}


def _id(ids: dict[tuple[str, str], str], end: End) -> str:
    return ids["host" if end.interface else "network", end.node]


def _label(end: End) -> str:
    return " ".join((end.interface, *end.addresses))


def _html(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")


def _quoted(text: str) -> str:
    """A DOT string: a quote is escaped, a line's end written."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
