"""What a lab is to be: pure values, no I/O beyond reading a topology file.

model         the frozen objects a topology is made of, and the file's schema
traffic       the model's part that says what is sent
expectation   the model's part that says what should be seen
values        the small values they are written with: durations, endpoints, names
points        the names of the places where packets are seen
document      YAML with the line of every key
load          a file, or a text, to a `Topology`; errors with file, line and key
verify        what a schema can't say: addresses, links and names that must fit each other
plan          a `Topology` to the ordered steps that build it
library       the topologies that come with netemu, by name
"""
