"""The only place that talks to the kernel: namespaces, links, rules, taps, processes.

syscalls     unshare, setns and mount
namespace    a network namespace held by a descriptor, and stepping into it
userspace    the user namespace in which an ordinary user's labs live
subordinate  that user's subordinate ids, mapped there
loopback     lo, set up without netlink
limits       how many descriptors this process may hold
threads      calls that wait for the kernel, side by side
making       many namespaces at once
pidspace     the PID namespace in which a lab's processes live and die, and starting them there
init         the program that is process 1 there: it starts them, and outlives its lab just long enough to tidy up
dialogue     messages to process 1 and back
handle       `Process`: one process of a lab
process      running processes to their end: the machine's own tools, and a lab's processes
running      which processes run on a host
memory       files in memory, for what goes in and out of a process
ending       waiting for a process's end on the event loop
links        one namespace's bridges, veth pairs, addresses, routes and link properties
rtnetlink    rtnetlink requests in batches, over one socket of a namespace
interfaces   the messages that make and change interfaces
routing      the messages of addresses, routes and policy rules
queues       what waits in queueing disciplines
qdisc        the messages of link properties: netem and tbf
inventory    what a namespace has, read back
offloads     checksum and segmentation offloads of an interface, over ethtool's ioctl
sysctl       sysctls of a namespace
growth       waiting until a file grows
listening    which ports a namespace's processes listen on
rules        rules loaded and read back by the real tools
nftables     libnftables: tables of our own, and nf_tables' own numbers for rules
packet       packet sockets, and what all taps of a wire can do
ring         a packet socket with a memory-mapped ring
blocks       a ring's blocks understood, in bulk
packing      those of many equally long frames, packed as they are taken
scapy_socket a scapy socket that lives in a namespace
filters      filters in pcap's language, for the kernel to carry out
wire         wire taps: a host's frames, and the canaries that prove them seen
trace        hook taps: the nft trace
netlink      raw nfnetlink sockets: stored now, understood later
outlet       a netlink socket's datagrams through a ring that is mapped into memory
bpf          the bpf system call, for that
slots        many datagrams with one call, and packed afterwards
tracking     conntrack's events and table
reader       the thread that takes what comes off all taps' sockets
buffers      how much a socket may hold
store        where taps keep what they took: in memory up to a bound, then on disk
proof        waiting on the event loop for what that thread will see
features     what labs must know of the kernel before they are built
probes       what a kernel may lack, each tried in a scratch namespace
doctor       everything that labs may need of this machine, with what brings it
packages     the command that installs a package, or brings a kernel module, here
"""
