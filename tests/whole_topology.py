"""A topology in which every part of the language is there, as a document: for tests of what is said of broken ones."""

from __future__ import annotations

from typing import Any

WHOLE: dict[str, Any] = {
    "name": "whole",
    "backend": "legacy",
    "networks": {"lan": {"subnets": ["10.0.0.0/24"]}},
    "hosts": {
        "A": {
            "interfaces": {
                "eth0": {
                    "network": "lan",
                    "addresses": ["10.0.0.1/24"],
                    "offloads": ["tx"],
                    "egress": {"delay": "1ms"},
                },
                "mv": {"macvlan": {"dev": "eth0", "mode": "bridge"}},
                "vx": {"vxlan": {"id": 7, "remote": "10.0.0.2"}},
                "e1": {"ingress": {"loss": "1%"}},
            },
            "routes": [{"to": "default", "nexthops": [{"via": "10.0.0.2", "weight": 2}]}],
            "policy_rules": [{"from": "10.0.0.0/24", "fwmark": 1, "table": 7}],
            "sysctls": {"net.ipv4.ip_default_ttl": 9},
            "files": {"/etc/x": {"content": "x", "mode": "0600"}},
            "tmpfs": ["/run/frr"],
            "environment": {"A": "1"},
            "user": "nobody",
            "services": {"s": {"command": ["true"], "ready": {"log": "up"}, "restart": "always"}},
        },
        "B": {
            "interfaces": {"eth0": {"network": "lan", "addresses": ["10.0.0.2/24"]}, "e1": {}},
            "services": {"s": {"command": ["true"], "after": ["A:s"]}},
        },
    },
    "links": [{"endpoints": ["A:e1", "B:e1"], "rate": "1mbit"}],
    "record": {"filter": "udp", "snap_length": 128, "ring": "8MiB", "buffer": "1MiB", "memory": "1GiB", "folder": "x"},
    "traffic": [{"name": "t", "from": "A", "udp": {"to": "10.0.0.2:9", "count": 2}}],
    "expect": [
        {"traffic": "t", "packet": "request.first", "at": "A@output", "ttl": 64},
        {"traffic": "t", "conntrack": "A", "original": {"src": "*:1"}},
        {"counter": "A", "rule": "x", "packets": 1},
    ],
}
