"""show: what a lab consists of, as people read it, a block a host."""

from __future__ import annotations

import json
import shlex
import signal
from collections.abc import Iterator
from typing import Any

import click
from rich.text import Text

from netemu.cli.changing import told_properties
from netemu.cli.console import console, printed
from netemu.cli.held import named

_KERNELS = {(0, "local"), (32766, "main"), (32767, "default")}
"""The policy rules that every host has (fib_default_rules_init in net/ipv4/fib_rules.c): priority and table."""
_INDENT = 4
_GAP = 2
"""Spaces between two columns, at least."""
_NAME, _STATE = 10, 8
"""Widths of columns, unless a word is longer."""


def show(lab: str, hosts: list[str], as_json: bool) -> None:
    """Print a lab's state."""
    told = {"state": "up"} | named(lab).show(*hosts)
    if as_json:
        click.echo(json.dumps(told))
        return
    screen = console()
    screen.print(Text.assemble((told["lab"], "bold"), f"   process {told['pid']}   {told['file']}"))
    for name, network in told["networks"].items():
        shards = f" on {len(network['bridges'])} bridges" if len(network["bridges"]) > 1 else ""
        screen.print(Text.assemble((name, "cyan"), f"   network of {len(network['members'])} ports{shards}"))
    for name, host in told["hosts"].items():
        screen.print()
        screen.print(Text(name, "bold"))
        for line in _host(host, screen.width):
            screen.print(line)
    click.echo(printed(screen), nl=False)


def _host(host: dict[str, Any], width: int) -> Iterator[Text]:
    wired = [each for each in host["interfaces"] if each["ifname"] != "lo"]
    widths = tuple(max((len(word(each)) for each in wired), default=0) for word in (_name, _state))
    for each in wired:
        yield from _interface(each, *widths)
    for title, lines in (
        ("routes", [_route(route) for route in host["routes"]]),
        ("policy rules", [_policy(rule) for rule in host["policy_rules"] if not _every_hosts(rule)]),
        ("rules", [_rule(rule) for rule in host["rules"]]),
        ("services", [_service(service) for service in host["services"]]),
        ("processes", [_process(process, width - _INDENT) for process in host["processes"]]),
        ("taps", ["wire, hooks and conntrack are recorded"] if host["taps"] else []),
        ("remarks", host["remarks"]),
    ):
        if lines:
            yield Text(f"  {title}", "dim")
            yield from (Text(f"{'':<{_INDENT}}{line}") for line in lines)


def _name(each: dict[str, Any]) -> str:
    return str(each["ifname"])


def _state(each: dict[str, Any]) -> str:
    return str(each.get("operstate", "")).lower() if each["up"] else "down"


def _interface(each: dict[str, Any], names: int, states: int) -> Iterator[Text]:
    """Its line, and one for each way that does something to packets; `names` and `states` are the widest words."""
    state = _state(each)
    addresses = [f"{address['local']}/{address['prefixlen']}" for address in each["addresses"]]
    name, colour = max(names + _GAP, _NAME), "green" if state == "up" else "yellow"
    head = ((f"  {_name(each):<{name}}", "bold"), (f"{state:<{max(states + _GAP, _STATE)}}", colour))
    yield Text.assemble(*head, f"{each.get('address', '')}  mtu {each.get('mtu')}  {', '.join(addresses)}".rstrip())
    for way, properties in each["properties"].items():
        yield Text(
            f"{'':<{name + 2}}{way}: {told_properties(properties)}   ({each['qdisc']})"
            if way == "out"
            else f"{'':<{name + 2}}{way}: {told_properties(properties)}"
        )


def _route(route: dict[str, Any]) -> str:
    hops = route.get("nexthops") or [route]
    ways = [
        " ".join(
            f"{word} {hop[key]}"
            for word, key in (("via", "gateway"), ("dev", "dev"), ("weight", "weight"))
            if hop.get(key) and (key != "weight" or len(hops) > 1)
        )
        for hop in hops
    ]
    more = [f"{word} {route[key]}" for word, key in (("src", "prefsrc"), ("metric", "metric")) if route.get(key)]
    more += [f"table {route['table']}"] if route["table"] != "main" else []
    kind = f"{route['type']} " if route["type"] != "unicast" else ""
    return " ".join(part for part in (f"{kind}{route['dst']}", ", ".join(filter(None, ways)), *more) if part)


def _every_hosts(rule: dict[str, Any]) -> bool:
    """Whether it is one of those that the kernel itself makes, for each family."""
    asks = rule["src"] != "all" or any(rule.get(key) is not None for key in ("dst", "iif", "oif", "fwmark", "tos"))
    return (rule["priority"], rule.get("table")) in _KERNELS and not asks


def _policy(rule: dict[str, Any]) -> str:
    parts = [f"{rule['priority']}:", *(["ipv6"] if rule["family"] == "inet6" else []), f"from {rule['src']}"]
    parts += [f"{word} {rule[key]}" for word, key in (("to", "dst"), ("iif", "iif"), ("oif", "oif")) if rule.get(key)]
    if rule.get("fwmark") is not None:
        mask = rule.get("fwmask")
        parts.append(f"fwmark {rule['fwmark']:#x}{f'/{mask:#x}' if mask not in (None, 0xFFFFFFFF) else ''}")
    if rule.get("tos") is not None:
        parts.append(f"tos {rule['tos']:#x}")
    return " ".join([*parts, rule["type"], *([rule["table"]] if rule.get("table") else [])])


def _rule(rule: dict[str, Any]) -> str:
    counted = f"{rule['packets']:>9}" if rule["packets"] is not None else f"{'-':>9}"
    return f"{counted}  {rule['family']} {rule['table']} {rule['chain']}  {rule['rule']}"


def _service(service: dict[str, Any]) -> str:
    process = f", process {service['pid']}" if service["pid"] is not None else ""
    ended = f", {_ended(service['exit_code'])}" if service["exit_code"] is not None else ""
    again = f", restarted {_times(service['restarts'])}" if service["restarts"] else ""
    return f"{service['name']}  {service['state']}{process}{ended}{again}"


def _process(process: dict[str, Any], room: int) -> str:
    """One line, cut where it ends: a program's text among the words may have any number."""
    line = f"{process['pid']:>7}  {' '.join(shlex.join(process['command']).split())}"
    return line if len(line) <= room else f"{line[: room - 1]}…"


def _ended(code: int) -> str:
    """How a process ended; minus a signal's number is that signal's doing."""
    return f"exit code {code}" if code >= 0 else f"killed by signal {-code} ({signal.strsignal(-code)})"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
