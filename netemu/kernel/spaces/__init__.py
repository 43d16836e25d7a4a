"""Namespaces: made, entered, held by descriptors; the settings each has of its own.

syscalls     unshare, setns and mount
namespace    a network namespace held by a descriptor, and stepping into it
userspace    the user namespace in which an ordinary user's labs live
subordinate  that user's subordinate ids, mapped there
loopback     lo, set up without netlink
limits       how many descriptors this process may hold
forking      a child, or the limit that keeps from it
threads      calls that wait for the kernel, side by side
making       many namespaces at once
sysctl       sysctls of a namespace
"""
