"""What records a host: its wires, its netfilter hooks, its conntrack; raw bytes taken, and nothing understood.

packet       packet sockets, and what all taps of a wire can do
ring         a packet socket with a memory-mapped ring
lane         beside it, memory that an eBPF filter on the socket copies frames to
scapy_socket a scapy socket that lives in a namespace
filters      filters in pcap's language, for the kernel to carry out
wire         wire taps: a host's frames, and the canaries that prove them seen
trace        hook taps: the nft trace
tracking     conntrack's events and table
netlink      raw nfnetlink sockets: stored now, understood later
slots        many datagrams with one call, and packed afterwards
reader       the thread that takes what comes off all taps' sockets
proof        waiting on the event loop for what that thread will see
clocks       whether somebody set the machine's clock, and how far it is behind CLOCK_TAI
buffers      how much a socket may hold
"""
