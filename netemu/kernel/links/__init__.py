"""Interfaces of a namespace: made, joined, shaped, addressed and read back.

links        one namespace's bridges, veth pairs, addresses, routes and link properties
rtnetlink    rtnetlink requests in batches, over one socket of a namespace
interfaces   the messages that make and change interfaces
routing      the messages of addresses, routes and policy rules
queues       what waits in queueing disciplines
qdisc        the messages of link properties: netem and tbf
inventory    what a namespace has, read back
offloads     checksum and segmentation offloads of an interface, over ethtool's ioctl
"""
