"""Columns to journeys: which sightings are of one packet, what it met on its way, how it ended.

turn             a rule or policy that a packet met
sayings          what each kind of trace event means to a pass
later_fragments  IPv6's later fragments, of which the trace tells little: their frames tell the rest
passes           a host's trace events grouped into packets' passes through its hooks
checksums        whether sightings' checksums are right
sightings        everything that was seen, as columns
fragments        frames that one packet left as
reassembly       fragments put together again
fragment_timers  how long hosts wait for them
loopback         a broadcast's or multicast's copy for its own host
wires            which frames are of the same packet on a wire
ties             which sightings are of the same packet, in a host and on a wire
nodes            what journeys are made of, and what leads to what
forest           from ties to journeys: each start's tree, laid out as one run of sightings
order            packets told apart by order alone, retransmissions, duplicates
quoting          what ICMP errors quote, as numbers
quotes           ICMP errors joined to the packets that they quote
tunnels          packets in VXLAN tunnels joined to the datagrams that carry them
rewrites         what changed between two neighbouring sightings, and by what
changes          the same of all sightings at once
legacy           iptables-legacy's nat rules, which no trace shows: walked and matched by what else tells
ends             how a journey ended, and why
"""
