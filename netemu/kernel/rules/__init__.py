"""Rules under test, and nf_tables for tables of our own.

loading      rules loaded and read back by the real tools
nftables     libnftables: tables of our own, and nf_tables' own numbers for rules
"""
