"""A record as bytes and tables for others; whoever calls reads and writes the files.

saved        a record as a file, which loads back equal
pcapng       pcapng written, pcapng and pcap read: bytes in, bytes out
export       a record as a capture file: one interface a point
table        a record's sightings as a Polars data frame
frames_table all frames of all wires, IP or not, as a Polars data frame
"""
