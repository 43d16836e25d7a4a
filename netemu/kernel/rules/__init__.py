"""Rules under test, and nf_tables for tables of our own.

loading      rules loaded and read back by the real tools
variants     iptables' two variants: their programs, and whose the plain names are
nftables     libnftables: tables of our own, and nf_tables' own numbers for rules
"""
