"""The only place that talks to the kernel: namespaces, links, rules, taps, processes.

Rooms stand below in the order in which they build on each other; a test holds that.

init/        the program that is process 1 of a lab: it starts the others, and tidies up after them
packages     the command that installs a package, or brings a kernel module, here
spaces/      namespaces: made, entered, held by descriptors; sysctls
processes/   a lab's processes in their PID namespace, and the machine's own tools
links/       bridges, veth pairs, addresses, routes, link properties: rtnetlink
rules/       iptables and nft rules, loaded and read back; tables of our own
ebpf/        programs that run in the kernel for our taps, and the memory that they share with us
keeping/     how what taps took is kept until it is asked for
taps/        what records wires, netfilter hooks and conntrack
machine/     what this kernel and this machine can do: features, probes, doctor
"""
