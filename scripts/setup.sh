# Sets this checkout up: system packages by the machine's own package manager, a virtual environment, the project.
# Sourced by the other scripts, with `setup EXTRA` (EXTRA is empty, or dev). Does nothing, and fast, when all is there.

root=$(dirname -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")")
venv=$root/.venv
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

say() { printf 'netemu: %s\n' "$*" >&2; }
fail() { say "$@"; exit 4; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else fail "needs root to run: $*"
  fi
}

has_libpcap() { # filters in pcap's language are compiled by it
  compgen -G '/usr/lib*/libpcap.so.*' >/dev/null || compgen -G '/usr/lib/*-linux-*/libpcap.so.*' >/dev/null
}

install_packages() { # Debian's names; other distributions' where they differ
  say "installing $*"
  if command -v apt-get >/dev/null; then
    as_root apt-get update -q >&2 || say "apt-get update failed, going on"
    DEBIAN_FRONTEND=noninteractive as_root apt-get install -y -q --no-install-recommends "$@" >&2
  elif command -v dnf >/dev/null; then
    as_root dnf install -y $(printf '%s\n' "$@" | sed 's/^iptables$/iptables-nft/; s/^iproute2$/iproute/; s/^python3-venv$/python3/; s/^libpcap0.8$/libpcap/') >&2
  elif command -v pacman >/dev/null; then
    as_root pacman -S --noconfirm --needed $(printf '%s\n' "$@" | sed 's/^iptables$/iptables-nft/; s/^python3-venv$/python/; s/^python3$/python/; s/^libpcap0.8$/libpcap/') >&2
  elif command -v zypper >/dev/null; then
    as_root zypper --non-interactive install $(printf '%s\n' "$@" | grep -v '^python3-venv$' | sed 's/^libpcap0.8$/libpcap1/') >&2
  elif command -v apk >/dev/null; then
    as_root apk add $(printf '%s\n' "$@" | sed 's/^python3-venv$/python3/; s/^libpcap0.8$/libpcap/') >&2
  else
    fail "no package manager known here: install these yourself: $*"
  fi || fail "the package manager could not install: $*"
}

find_python() { # the first Python that is new enough and can make virtual environments
  local name
  for name in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do
    if "$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$name"; return 0
    fi
  done
  return 1
}

up_to_date() { # whether the environment was set up here (it holds its own path), since pyproject.toml changed
  [ -e "$1" ] && [ -x "$venv/bin/python" ] && [ ! "$root/pyproject.toml" -nt "$1" ] && [ "$(<"$1")" = "$root" ]
}

compiled() { # Python's bytecode, which is not written on the way where nobody may, or PYTHONDONTWRITEBYTECODE is set
  [ -w "$venv" ] && [ -w "$root/netemu" ] || return 0
  [ -e "$venv/.compiled" ] && [ -z "$(find "$root/netemu" -name '*.py' -newer "$venv/.compiled" -print -quit)" ] && return
  touch "$venv/.compiled"
  "$venv/bin/python" -m compileall -qq "$root/netemu" >&2 || say "netemu's bytecode could not be written, going on"
}

setup() {
  local extra=$1 stamp=$venv/.set-up${1:+-$1} missing=() python
  command -v nft >/dev/null || missing+=(nftables)
  command -v iptables-restore >/dev/null || missing+=(iptables)
  command -v ip >/dev/null || missing+=(iproute2)
  has_libpcap || missing+=(libpcap0.8)
  if [ "$extra" = dev ] && command -v apt-get >/dev/null && ! command -v newuidmap >/dev/null; then
    missing+=(uidmap) # for the tests of other users in labs without root; elsewhere it is there
  fi
  [ -e "$stamp" ] || python=$(find_python) || missing+=(python3 python3-venv)
  [ ${#missing[@]} = 0 ] || install_packages "${missing[@]}"
  if up_to_date "$stamp"; then compiled; return; fi
  if [ -e "$venv" ] && ! [ -w "$venv" ]; then
    fail "$venv is another user's: run this as that user (root, as a rule: sudo $0)"
  fi
  if ! [ -x "$venv/bin/python" ] || [ "$(cat "$venv/.set-up" 2>/dev/null)" != "$root" ]; then
    python=$(find_python) || fail "no Python 3.11 or newer that can make virtual environments"
    say "making the virtual environment in .venv with $python"
    "$python" -m venv --clear "$venv" || fail "could not make $venv"
  fi
  "$venv/bin/python" -m pip install -q --disable-pip-version-check -e "$root${extra:+[$extra]}" >&2 ||
    fail "pip could not install netemu into $venv"
  compiled
  printf '%s\n' "$root" >"$venv/.set-up"
  printf '%s\n' "$root" >"$stamp"
}
