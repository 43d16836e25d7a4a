"""The nodeport lab built by Mininet, once, for scripts/bench lab: B's rules come in, milliseconds go out as JSON.

Runs under the system's Python, in network, mount and PID namespaces that lab.py makes for it: Mininet names its
interfaces in the namespace it runs in and leaves processes behind, and both go with those namespaces.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from mininet.net import Mininet
from mininet.node import Node
from mininet.nodelib import LinuxBridge

READY = "until (exec 3<>/dev/tcp/127.0.0.1/8080) 2>/dev/null; do sleep 0.005; done"
REQUEST = r"(exec 3<>/dev/tcp/192.168.0.2/30000 && printf 'GET / HTTP/1.0\r\n\r\n' >&3 && cat <&3)"
"""Both by the shell that each Mininet host has anyway: nothing that can be done in it is cheaper."""


def do(host: Node, command: str) -> None:
    """Run a command that says nothing when it succeeds."""
    if said := host.cmd(command).strip():
        sys.exit(f"Mininet host {host.name}: {command}: {said}")


def build(folder: Path) -> Mininet:
    """The lab, up, its service listening."""
    net = Mininet(controller=None, switch=LinuxBridge)
    lan = net.addSwitch("s1")
    a, b, c = (net.addHost(name, ip=f"192.168.0.{last}/24") for last, name in enumerate("ABC", 1))
    pod = net.addHost("pod", ip=None)
    for host in (a, b, c):
        net.addLink(host, lan)
    net.addLink(c, pod, intfName1="cni0", params1={"ip": "172.26.0.1/24"}, params2={"ip": "172.26.0.3/24"})
    net.start()
    for router in (b, c):
        do(router, "sysctl -q -w net.ipv4.ip_forward=1")
    do(b, "ip route add 172.26.0.0/24 via 192.168.0.3")
    do(b, f"iptables-restore {folder}/rules")
    do(pod, "ip route add default via 172.26.0.1")
    pod.cmd(f"python3 -m http.server 8080 -d {folder}/served >/dev/null 2>&1 &")
    do(pod, READY)
    return net


def main() -> None:
    """Build, ask, stop; print how long each took."""
    Mininet.inited = True  # its first use would set the whole machine's kernel.pty.max and fs.file-max
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "served").mkdir()
        (folder / "rules").write_text(sys.stdin.read())
        start = time.perf_counter()
        net = build(folder)
        up = time.perf_counter()
        answer = net["A"].cmd(REQUEST)
        asked = time.perf_counter()
        if not answer.startswith("HTTP/1.0 200"):
            sys.exit(f"Mininet's pod did not answer 200: {answer!r}")
        net.stop()
        down = time.perf_counter()
    print(json.dumps({"up": (up - start) * 1000, "traffic": (asked - up) * 1000, "down": (down - asked) * 1000}))


if __name__ == "__main__":
    main()
