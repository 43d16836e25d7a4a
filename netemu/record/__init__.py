"""What was seen: raw captures decoded, joined into journeys and flows; pure values, no I/O.

frames       raw captures in columns: frames and netlink datagrams
capture      what a host's taps hand over: raw bytes, and what they lost
headers      link, network and transport headers from bytes, and the key by which a packet is recognised
rows         many byte strings at once: a flat buffer, numbers as columns, digests to join by
packets      the same headers of many packets at once, as columns
events       the trace events of a host in bulk, as columns
sighting     one packet seen at one point
passes       a host's trace events grouped into packets' passes through its hooks
journeys     one packet's sightings joined across hosts and rewrites
rewrites     what changed between two neighbouring sightings, and by what
flows        journeys joined to connections, in two directions
record       all of it together
pcapng      pcapng written, pcapng and pcap read: bytes in, bytes out
"""
