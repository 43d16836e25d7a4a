"""How what taps took is kept until it is asked for: frames that are alike in columns, all else as it came.

packing      those that are alike packed, others with a list of what is told of each
blocks       a ring's blocks understood, in bulk; and those of packing
rows         a ring's frames that are alike
stretch      a lane's frames: what is told of them, and those that are alike
columns      frames' columns, growing in one place
kept         what a tap's frames are kept as: columns or blocks
store        where taps keep what they took: in memory up to a bound, then on disk
"""
