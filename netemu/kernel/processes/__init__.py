"""Processes of a lab and of the machine: started, listed, waited for and ended.

pidspace     the PID namespace in which a lab's processes live and die, and starting them there
dialogue     messages to process 1 and back
handle       `Process`: one process of a lab
process      running processes to their end: the machine's own tools, and a lab's processes
running      which processes run on a host
memory       files in memory, for what goes in and out of a process
ending       waiting for a process's end on the event loop
growth       waiting until a file grows
listening    which ports a namespace's processes listen on
"""
