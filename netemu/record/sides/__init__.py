"""Captures of any sides of a NAT, made anywhere, joined packet by packet without a look into any kernel; pure values.

captured   capture files in bulk: their packets as columns, whatever the link type
kept       what a packet keeps through NAT, as a number by which both sides know it
parts      what the fragments of a datagram share
fragments  those without ports, with the ends of their datagram
side       one side: what a capture saw at one point, numbered into flows
flows      which flow of one side is which of another
packets    which packet of a flow on one side is which on another
clock      how far apart two files' clocks are
chain      things of several sides joined pair by pair
joined     all sides joined: flows, journeys, clocks, as columns
missing    what became of packets that not every side saw
mapping    how a NAT maps, in RFC 4787's words, as far as flows tell
walks      flows and journeys of joined sides, made on demand
"""
