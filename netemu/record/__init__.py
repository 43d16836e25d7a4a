"""What was seen: raw captures decoded, joined into journeys and flows; pure values, no I/O.

A record is columns (numpy), one row a sighting, from the taps' bytes to the last join; a `Sighting`, `Journey` or
`Flow` is made when somebody asks for it. The way of the data, each step over all rows at once:

    Frames, Datagrams        bytes as they came: one flat buffer with offsets
    -> Packets               headers of every frame; what is no IP, cut short or senseless is marked, never raises
    -> Events                trace messages, read by layout; what they say of chain and rule is read once each
    -> HostPasses            a host's events by trace id, cut where a packet's way begins: hook sightings and turns
    -> Sightings             both kinds of all hosts, one table
    -> Ties                  equal headers inside a host, equal bytes on a wire, the n-th to the n-th
    -> Laid                  each start's tree of frames and passes as one run of sightings: journeys, in order of time
    -> flow, reply, nth      one look at each kind of journey (equal tuples and entries all along)

Rows are joined by digests of 64 bits. `headers`, `netfilter.messages` and tests/record_plain.py say the same of one
packet at a time; tests hold the columns against them.

frames       raw frames and datagrams in columns, as taps hand them over
capture      what a host's taps hand over: raw bytes, and what they lost
headers      link, network and transport headers from bytes, and the key by which a packet is recognised
rows         many byte strings at once: a flat buffer, numbers as columns, digests to join by
packets      the same headers of many packets at once, as columns
link         link headers, ARP and what VXLAN carries, of every frame, as columns on demand
events       the trace events of a host in bulk, as columns
sighting     one packet seen at one point
passes       a host's trace events grouped into packets' passes through its hooks
sightings    everything that was seen, as columns
fragments    frames that one packet left as, and those that were put together again
ties         which sightings are of the same packet, in a host and on a wire
forest       from ties to journeys: each start's tree, laid out as one run of sightings
ends         how a journey ended, and why
journeys     one packet's sightings joined across hosts and rewrites, made on demand
order        packets told apart by order alone, retransmissions, duplicates
quotes       ICMP errors joined to the packets that they quote
tunnels      packets in VXLAN tunnels joined to the datagrams that carry them
rewrites     what changed between two neighbouring sightings, and by what
select       which sightings and journeys are asked for: words onto columns of truth values
expression   the same as text in pcap's manner, read to what it asks
at           which points are asked for by `at`
askable      a sequence of all that called gives what is asked for
seen         all sightings as a sequence, made on demand
latency      how long packets took from one point to another
tracked      what conntrack told: entries new, updated and destroyed, and the table at the end
arp          who asked for whose MAC address, and who answered
legacy       iptables-legacy's nat rules, which no trace shows: walked and matched by what else tells
tuples       directed tuples as numbers
flows        journeys joined to connections, in two directions
exchange     one traffic item as it went
table        a record's sightings as a Polars data frame
frames_table all frames of all wires, IP or not, as a Polars data frame
record       all of it together
saved        a record as a file, which loads back equal
live         journeys as they complete, of captured bytes that come piece by piece
live_flows   which flows those are of
export       a record as a capture file: one interface a point
pcapng       pcapng written, pcapng and pcap read: bytes in, bytes out

sides/       captures made elsewhere, of any sides of a NAT, joined by what a packet keeps on its way
"""
