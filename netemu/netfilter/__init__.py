"""netfilter as netemu needs to know it: names, numbers and messages; pure values, no I/O.

hooks        the hooks, and the places before and after NAT where hook taps sit
conntrack    states, status bits, tuples and entries, and what they say about NAT
messages     nfnetlink's messages: trace events and conntrack entries, from bytes
legacy       what a rule of the nat table surely does not do, where no trace shows what it did
ruleset      rules as iptables-save lists them, and the line a restore tool complains about
"""
