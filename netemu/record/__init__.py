"""What was seen: raw captures decoded, joined into journeys and flows; pure values, no I/O.

A record is columns (numpy), one row a sighting, from the taps' bytes to the last join; a `Sighting`, `Journey` or
`Flow` is made when somebody asks for it. The way of the data, each step over all rows at once:

    Frames, Datagrams        bytes as they came: one flat buffer with offsets
    -> Packets               headers of every frame; what is no IP, cut short or senseless is marked, never raises
    -> Events                trace messages, read by layout; what they say of chain and rule is read once each
    -> HostPasses            a host's events by trace id, cut where a packet's way begins: hook sightings and turns
    -> Sightings             both kinds of all hosts, one table
    -> Ties                  equal headers inside a host, equal bytes on a wire, the n-th to the n-th
    -> Laid                  each start's tree of frames and passes as one run of sightings: journeys, in order of time
    -> flow, reply, nth      one look at each kind of journey (equal tuples and entries all along)

Rows are joined by digests of 64 bits. `decode.headers`, `netfilter.messages` and tests/record_plain_*.py say the same
of one packet at a time; tests hold the columns against them. Rooms and files stand below in the order in which they
build on each other; a test holds that.

capture      what a host's taps hand over: raw bytes, and what they lost
frames       raw frames and datagrams in columns, as taps hand them over
sighting     one packet seen at one point
exchange     one traffic item as it went

decode/      bytes to columns: nothing is joined there
join/        columns to journeys: which sightings are of one packet
ask/         which sightings and journeys are asked for

journeys     one packet's sightings joined across hosts and rewrites, made on demand
shown        what journeys show of their flows: tuples and conntrack entries
flows        journeys joined to connections, in two directions
tracked      what conntrack told: entries new, updated and destroyed, and the table at the end
arp          who asked for whose MAC address, and who answered

files/       a record as bytes and tables: saved, pcapng, Polars
live/        journeys as they complete, of captured bytes that come piece by piece
sides/       captures made elsewhere, of any sides of a NAT, joined by what a packet keeps on its way

record       all of it together
"""
