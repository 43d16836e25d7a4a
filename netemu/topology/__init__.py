"""What a lab is to be: pure values, no I/O beyond reading a topology file.

model         the frozen objects a topology is made of: networks, hosts, links, and the whole
strict        the base of every object of it: its refusals are a topology file's
frozen        mappings that can't be changed
interface     an interface: a port on a network, a link's end, a VXLAN tunnel's end or a macvlan
routing       a host's routes and policy rules
tracing       how much of what passes a host's hooks is traced
recording     how a lab is recorded
service       a host's services: what runs, when it is ready, what it waits for
hostfile      files placed on a host, and rules that stand in a file
shaping       what a wire does to packets: delay, loss, rate and the like
changing      link properties given one by one, over those that are there
traffic       the model's part that says what is sent
expectation   the model's part that says what should be seen
values        the small values they are written with: names, addresses, endpoints
units         quantities with their units: durations, shares, rates, queue lengths
counting      `count`: many hosts of one
schema        the topology file's JSON Schema, read off the model
points        the names of the places where packets are seen
document      YAML with the line of every key
complaints    what is said of a value that is not of its type
keys          how a key's place is written
naming        what is said of a name that is not there
inclusion     texts of files that a topology file names
load          a file, a text or a mapping to a `Topology`, by one door; errors with file, line and key
segments      who shares a layer-2 segment with whom
shards        networks of more ports than one bridge takes
remainder     what can still be said of a document beside what does not fit the schema
fault         what verification finds: one thing that does not fit, and where
verify        what a schema can't say; one file each for host names, wires, MTUs, addresses, routes, places (files,
              services), expectations
steps         the steps that a plan is made of
plan          a `Topology` to the ordered steps that build it
needs         what a topology needs of a kernel beyond what every lab needs
generate      topologies of a regular shape: star, line, ring, tree, mesh
built         what a topology says is built, as plain values, and where two of them differ
dump          a `Topology` back to YAML
library       the topologies that come with netemu, by name
"""
