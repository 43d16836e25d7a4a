"""Programs that run in the kernel for our taps: how they are loaded, what they know of it, what they share with us.

bpf          the bpf system call: maps, and socket filters given as instructions
btf          where the running kernel keeps facts of a packet
lane_program copies frames to memory that is mapped, instead of a socket's ring; and how that memory is laid out
outlet       a netlink socket's datagrams through a ring that is mapped into memory
"""
