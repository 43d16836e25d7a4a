"""Expectations held against a record; pure values, no I/O.

verdict      pass, fail or unproven, and one check's result
packets      expectations about packets
selections   the packets that expectations select
alike        which packets an expectation can't tell apart: one of them is judged for all
entries      expectations about conntrack entries and rule counters
implied      what is checked of every record: that traffic was answered, that counters and trace agree
explain      why a packet went no further
report       all checks of a record, and its JSON
lab          a topology's expectations held against a record of it
sides_report joined captures as JSON, with a report's keys
"""
