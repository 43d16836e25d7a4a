"""What records a host: its wires, its netfilter hooks, its conntrack; raw bytes taken, and nothing understood.

packet       packet sockets, and what all taps of a wire can do
ring         a packet socket with a memory-mapped ring
lane         beside it, memory that an eBPF filter on the socket copies frames to
lane_program that filter, and how the memory is laid out
stretch      frames of a lane: what is told of them, and how they are kept
blocks       a ring's blocks understood, in bulk; and those below
rows         a ring's frames that are alike
packing      how frames are kept: those that are alike packed, others with a list
columns      frames' columns, growing in one place
kept         what a ring's frames are kept as: columns or blocks
scapy_socket a scapy socket that lives in a namespace
filters      filters in pcap's language, for the kernel to carry out
wire         wire taps: a host's frames, and the canaries that prove them seen
trace        hook taps: the nft trace
netlink      raw nfnetlink sockets: stored now, understood later
outlet       a netlink socket's datagrams through a ring that is mapped into memory
bpf          the bpf system call, for that and for lanes
clocks       whether somebody set the machine's clock, and how far it is behind CLOCK_TAI
btf          where the running kernel keeps facts of a packet
slots        many datagrams with one call, and packed afterwards
tracking     conntrack's events and table
reader       the thread that takes what comes off all taps' sockets
buffers      how much a socket may hold
store        where taps keep what they took: in memory up to a bound, then on disk
proof        waiting on the event loop for what that thread will see
"""
