"""This distribution's command that installs a package."""

from __future__ import annotations

import shutil

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
}


def install_command(package: str) -> str:
    """The command, by the machine's own package manager; Debian's name for the package where that one is unknown."""
    for manager, command in _MANAGERS:
        if shutil.which(manager):
            return command.format(_OTHER_NAMES.get((manager, package), package))
    return f"install the package {package}"
