"""Racks with networks of their own, whose links can be cut, or lose or delay packets.

    with racks([0, 3], delayed=[3]) as fabric:   # nothing for no racks
        ...                                      # servers listen on fabric.host
        ...                                      # clients are started behind fabric.inside(0)
        with fabric.impair(0, "cut", "in"):      # packets towards the rack's services
            ...

Linux only, and only for root: `missing` says beforehand what there is not.
"""

from bench.engines.live.racks.construction import racks
from bench.engines.live.racks.fabric import Episode, Fabric, Unconfirmed
from bench.engines.live.racks.lacks import missing
from bench.engines.live.racks.namespaces import leftovers, remove

__all__ = ["Episode", "Fabric", "Unconfirmed", "leftovers", "missing", "racks", "remove"]
