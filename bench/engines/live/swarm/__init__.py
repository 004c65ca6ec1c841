"""The simulated services, cut into shards.

A shard is a worker with a narrow, picklable interface: a plan in, commands at times, an event
table out. It knows nothing of its host and shares no memory, clock or path with anybody.
"""
