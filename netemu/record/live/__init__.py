"""The same while packets still come: captured bytes go in piece by piece, whole journeys come out.

journeys     journeys as they complete
flows        which flows those are of
quoted       what was told already, for ICMP errors that come later
"""
