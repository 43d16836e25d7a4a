"""This distribution's command that installs a package, or brings a kernel module."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_MANAGERS = (
    ("apt-get", "apt-get install -y {}"),
    ("dnf", "dnf install -y {}"),
    ("zypper", "zypper install -y {}"),
    ("pacman", "pacman -S --needed {}"),
    ("apk", "apk add {}"),
)
_OTHER_NAMES = {
    ("dnf", "iptables"): "iptables-nft",
    ("dnf", "iproute2"): "iproute",
    ("pacman", "iptables"): "iptables-nft",
    ("apt-get", "iptables-legacy"): "iptables",
    ("zypper", "iptables-legacy"): "iptables",
    ("pacman", "iptables-legacy"): "iptables",
    ("dnf", "uidmap"): "shadow-utils",
    ("zypper", "uidmap"): "shadow",
    ("pacman", "uidmap"): "shadow",
    ("apk", "uidmap"): "shadow-subids",
    ("dnf", "libpcap0.8"): "libpcap",
    ("zypper", "libpcap0.8"): "libpcap1",
    ("pacman", "libpcap0.8"): "libpcap",
    ("apk", "libpcap0.8"): "libpcap",
}
_MORE_MODULES = {"dnf": "kernel-modules-extra", "apt-get": "linux-modules-extra-{release}"}
"""Where a distribution keeps modules in a package beside its kernel (apt-get's: Ubuntu)."""


def install_command(package: str) -> str:
    """The command, by the machine's own package manager; Debian's name for the package where that one is unknown."""
    for manager, command in _MANAGERS:
        if shutil.which(manager):
            return command.format(_OTHER_NAMES.get((manager, package), package))
    return f"install the package {package}"


def module_command(module: str) -> str:
    """What brings a kernel module: modprobe where it is there; else the package that may have it."""
    release = os.uname().release
    try:
        listed = Path(f"/lib/modules/{release}/modules.dep").read_text(encoding="utf-8", errors="replace")
    except OSError:
        listed = ""
    if f"/{module}.ko" in listed:
        return f"modprobe {module}"
    manager = next((name for name, _ in _MANAGERS if shutil.which(name)), "")
    if not listed or manager not in _MORE_MODULES or (manager == "apt-get" and not _is_ubuntu()):
        return f"this kernel ({release}) comes without {module}: boot one of the distribution's own that has it"
    return install_command(_MORE_MODULES[manager].format(release=release)) + f" && modprobe {module}"


def _is_ubuntu() -> bool:
    try:
        return "ubuntu" in Path("/etc/os-release").read_text(encoding="utf-8", errors="replace").lower()
    except OSError:
        return False
