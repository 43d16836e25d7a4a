"""Process 1 of a lab's PID namespace, a program of its own: it starts the lab's processes.

It outlives the lab just long enough to tidy up. It imports nothing else of netemu, and little of the standard library,
to start fast.

__main__     where it begins
server       requests answered, ends reported, what is left removed
message      what is said to it and back, as bytes
spawn        a child becomes a process of a host
place        a host's own mount and UTS namespace: its name, its /proc and /sys, its files
files        files placed where a host's processes find them
mounts       mounting over a folder while what is mounted below it stays in sight
calls        the system calls that Python lacks

Its standard input is one end of a SEQPACKET socket pair, the lab has the other. A message is one mapping, with
descriptors beside it (one that is too long for a message comes as a file in memory: `{"long": true}` and its
descriptor). Requests:

    {"do": "remove", "folder": PATH}                     remove it when the lab is gone; no answer
    {"do": "remove", "link": PATH, "target": TARGET}     the same, if it still leads there
    {"do": "place", "id": N, "host": NAME, "folder": PATH, "names": FILE, "covers": [[SOURCE, TARGET], …],
        "files": [[SOURCE, TARGET], …], "programs": [[SOURCE, NAME], …]}   + [net]
        answered {"id": N, "said": [what it could not do, …]}
    {"do": "enter", "id": N, "host": NAME}               answered {"id": N} + [net, uts, mnt]
    {"do": "start", "id": N, "host": NAME or null, "command": […], "environment": {…}, "folder": PATH,
        "must": whether that folder must be there, "user": NAME or null}   + [stdin, stdout, stderr]
        answered {"id": N} + [pidfd], and {"ended": N, "code": CODE} once it has ended
    {"do": "signal", "id": N, "number": SIGNAL, "group": whether to its process group,
     "stop": whether what is left of the group goes with it}                                no answer

Whatever fails is answered {"id": N, "error": WHY, "doing": WHAT, "errno": NUMBER}.
"""
