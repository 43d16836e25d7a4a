"""The command line: each command only calls the public API and prints what it gives.

main        the entry, and the sections of commands
sections    how --help lists them
options     options that commands share, arguments that a shell completes
building    the commands that take a topology, and their options: what they do is in labs, files, drawing
asking      the commands about labs that are up: what they do is in held
recording   the commands about records: what they do is in sides
tending     the commands about this machine: what they do is in machine

given       the topology that a command is given: a name, a file, standard input
output      standard output, and what goes wrong with it
complaint   what an error looks like, and its exit code
space       the address space that a record takes at least
labs        up, run
progress    how far a lab is that takes its time, on a terminal
held        down, ls, exec, shell: what is asked of labs that are up
showing     show: a lab's state as people read it
changing    logs, restart, link
files       validate, schema
drawing     graph: which lab is meant, and in which style
shape       a topology as nodes and edges
tree        drawn for a terminal
diagram     drawn as Mermaid or DOT
sides       journeys: captures of several sides of a NAT, as people read them
machine     doctor, wipe
walk        a report as people read it: each packet's walk, the conntrack entries, the checks
rows        one packet's walk as rows, and which packets are alike
failures    a failed check: expected and actual side by side
console     where it is printed: width, colour
"""
