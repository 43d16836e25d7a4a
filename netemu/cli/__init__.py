"""The command line: each command only calls the public API and prints what it gives.

main        the commands and their options
complaint   what an error looks like, and its exit code
labs        up, run
held        down, ls, exec: what is asked of labs that are up
files       validate, schema
machine     doctor
walk        a report as people read it: each packet's walk, the conntrack entries, the checks
rows        one packet's walk as rows, and which packets are alike
failures    a failed check: expected and actual side by side
console     where it is printed: width, colour
"""
