"""A star of N hosts by Mininet on a Linux bridge, once, for scripts/bench bring-up: prints milliseconds as JSON.

Runs under the system's Python, in network, mount and PID namespaces of its own: Mininet names its interfaces in the
namespace it runs in and leaves processes behind, and both go with those namespaces.
"""

from __future__ import annotations

import json
import sys
import time

from mininet.net import Mininet
from mininet.nodelib import LinuxBridge


def main() -> None:
    """Build, start, stop."""
    Mininet.inited = True  # its first use would set the whole machine's kernel.pty.max and fs.file-max
    size = int(sys.argv[1])
    start = time.perf_counter()
    net = Mininet(controller=None, switch=LinuxBridge, ipBase="10.0.0.0/8")
    bridge = net.addSwitch("s1")
    for number in range(1, size + 1):
        net.addLink(net.addHost(f"h{number}"), bridge)
    net.start()
    up = time.perf_counter()
    net.stop()
    print(json.dumps({"up_ms": (up - start) * 1000, "down_ms": (time.perf_counter() - up) * 1000}))


if __name__ == "__main__":
    main()
