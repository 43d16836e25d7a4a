"""Bytes to columns: headers, link headers and trace events of many packets at once; nothing is joined here.

rows         many byte strings at once: a flat buffer, numbers as columns, digests to join by
headers      link, network and transport headers from bytes, and the key by which a packet is recognised
regular      the headers that nearly all packets have, as columns
packets      the same headers of many packets at once, as columns
link         link headers, ARP and what VXLAN carries, of every frame, as columns on demand
checksums    whether checksums are right, of many packets at once, on demand
events       the trace events of a host in bulk, as columns
tuples       directed tuples as numbers
points       points as numbers
"""
