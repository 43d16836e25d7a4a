"""A topology brought to life: lifetimes, and nothing else.

lab          `Lab`: builds a topology, owns all that it made, takes it down
build        a plan's steps carried out
limits       which limit of the machine was reached, and what raises it
needs        whether this machine has what a plan takes, asked before anything is built
doctor       all that labs may need of a machine, tried one by one
users        whether the users are there that services run as, asked before as well
progress     how far that is
wiring       its namespaces, links, addresses and routes
host         `Host`: run commands and open sockets on one host
names        the /etc/hosts of a lab's hosts
searching    where the programs of hosts are looked for
resolving    whom their processes ask for other names: nobody, unless the topology says so
services     a lab's services: started in their order, kept, started again
readiness    how a service shows that it is ready
together     coroutines side by side, of which one that fails ends the others
log          what a service writes, kept
matching     whether a line of it is the one that is waited for, found out in bounded time
traffic      a topology's traffic items, sent
taps         how a lab is recorded
recorder     all hosts' taps: proven, running, read out
folder       the private folders that labs keep things in, and the names of labs that are up
leftovers    what a lab leaves when its holder and its process 1 were both killed, and wiping it
supervisor   the process that holds a lab which is up, or brings it up once
stopping     being stopped by signals
control      the supervisor's socket: what is asked there is answered, whoever asks and however
asking       asking it, from another process
following    services' logs, read and followed from another process
show         what a lab consists of now, as the kernel says it
linkage      the wires of a lab that is up, changed while it is
requests     what a supervisor does for each request
held         `HeldLab`: a lab that another process holds
inside       this process's own sockets in such a lab's namespaces, for
stream       what goes out while it happens, to a reader that may stall or go:
capturing    what passes some points, as pcapng
watching     journeys as they complete
entering     this process moves into a host's place and runs a command there
terminal     a terminal of its own for that command
sides        capture files of several sides of a NAT, read and joined
shell        a shell whose prompt names lab and host
"""
