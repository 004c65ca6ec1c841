"""What a ZooKeeper server says of itself, by its four-letter word ``mntr``."""

from __future__ import annotations

from collections.abc import Iterator

from bench.engines.live.meters import Meter, Reading
from bench.engines.live.provision import zookeeper

METRICS = {
    "zk_packets_received": ("packets_received", "packets"),
    "zk_packets_sent": ("packets_sent", "packets"),
    "zk_num_alive_connections": ("connections", "connections"),
    "zk_global_sessions": ("sessions", "sessions"),
    "zk_stale_sessions_expired": ("sessions_expired", "sessions"),
    "zk_connection_revalidate_count": ("sessions_revalidated", "sessions"),
    "zk_connection_drop_count": ("connections_dropped", "connections"),
    "zk_outstanding_requests": ("outstanding_requests", "requests"),
    "zk_watch_count": ("watches", "watches"),
    "zk_znode_count": ("nodes", "nodes"),
    "zk_ephemerals_count": ("ephemerals", "nodes"),
    "zk_approximate_data_size": ("data_bytes", "bytes"),
    "zk_open_file_descriptor_count": ("open_files", "files"),
    "zk_avg_latency": ("latency_avg_ms", "ms"),
    "zk_max_latency": ("latency_max_ms", "ms"),
    "zk_cnt_readlatency": ("reads", "requests"),
    "zk_sum_readlatency": ("reads_ms", "ms"),
    "zk_cnt_updatelatency": ("writes", "requests"),
    "zk_sum_updatelatency": ("writes_ms", "ms"),
    "zk_cnt_fsynctime": ("fsyncs", "fsyncs"),
    "zk_sum_fsynctime": ("fsyncs_ms", "ms"),
    "zk_max_fsynctime": ("fsync_max_ms", "ms"),
    "zk_cnt_jvm_pause_time_ms": ("pauses", "pauses"),
    "zk_sum_jvm_pause_time_ms": ("pauses_ms", "ms"),
    "zk_commit_count": ("commits", "transactions"),
    "zk_proposal_count": ("proposals", "transactions"),
    "zk_sum_quorum_ack_latency": ("quorum_acks_ms", "ms"),
    "zk_cnt_quorum_ack_latency": ("quorum_acks", "transactions"),
    "zk_cnt_election_time": ("elections", "elections"),
    "zk_sum_election_time": ("elections_ms", "ms"),
    "zk_synced_followers": ("synced_followers", "servers"),
    "zk_pending_syncs": ("pending_syncs", "servers"),
    "zk_snap_count": ("snapshots_sent", "snapshots"),
    "zk_bytes_received_count": ("request_bytes", "bytes"),
    "zk_response_bytes": ("response_bytes", "bytes"),
    "zk_sum_node_created_watch_count": ("watch_events_created", "events"),
    "zk_sum_node_deleted_watch_count": ("watch_events_deleted", "events"),
    "zk_sum_node_changed_watch_count": ("watch_events_changed", "events"),
    "zk_sum_node_children_watch_count": ("watch_events_children", "events"),
}
"""What we take, and what we call it. Those with ``_ms`` in the plural are sums, to be divided by
the count of the same name. Versions differ: what a server doesn't tell is not recorded."""

PATIENCE = 2.0
PERIOD = 5.0
"""An answer has 17 KB, and some hundred percentiles that cost a young server 20 ms."""


def mntr(source: str, host: str, port: int) -> Meter:
    """A meter of that server; without readings while it is down."""

    def read() -> Iterator[Reading]:
        try:
            answer = zookeeper.ask(host, port, "mntr", PATIENCE)
        except OSError:
            return
        for line in answer.splitlines():
            key, _, value = line.partition("\t")
            if key in METRICS:
                metric, unit = METRICS[key]
                yield Reading(source, metric, float(value), unit)

    return Meter(f"{source} mntr", read, PERIOD)
