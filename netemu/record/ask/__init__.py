"""Which sightings and journeys are asked for: words and text in pcap's manner, onto columns of truth values.

at           which points are asked for by `at`
expression   text read to what it asks
given        values that words are given
select       words onto columns of truth values
askable      a sequence of all that called gives what is asked for
seen         all sightings as a sequence, made on demand
latency      how long packets took from one point to another
"""
