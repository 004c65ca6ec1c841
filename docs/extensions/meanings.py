"""What each figure of a summary means. The site isn't built where one lacks its meaning."""

from __future__ import annotations

from collections.abc import Mapping

_SPREAD = {
    "mean": "Their mean.",
    "sd": "Their sample standard deviation.",
    "p50": "Their median. Quantiles interpolate linearly.",
    "p90": "Nine tenths of them are no longer.",
    "p99": "99 of 100 of them are no longer.",
    "max": "The longest.",
}
_LOAD = {
    "server_cpu_cores": "Cores that the servers used on average.",
    "server_rss_max_bytes": "The most memory that the servers held together.",
    "network_bytes": "What the servers sent and received, clients and each other together.",
    "disk_write_bytes": "What the servers wrote to disk.",
    "machine_network_bytes": "What the whole machine sent, whoever caused it.",
    "machine_disk_write_bytes": "What the whole machine wrote, whoever caused it.",
    "statements": "SQL statements that the server executed.",
    "transactions": "Transactions that it committed.",
    "wal_bytes": "What it wrote to its log.",
    "packets": "Requests, answers and events of ZooKeeper's protocol, pings included.",
}

FIGURES: Mapping[str, Mapping[str, str]] = {
    "detection": {
        "count": "Onsets of the fault: one a victim, or one a stop where it flaps.",
        "noticed": "Those of them that an observer noticed.",
        "missed": "Those that had to be noticed and never were; they are kept as censored times.",
        "unexpected": "Those that were noticed although they must not be: they were short enough "
        "to be forgiven.",
        **_SPREAD,
    },
    "convergence": {
        "seconds": "From a phase's last fault until all observers agreed, in the slowest phase.",
        "views": "Different memberships that any observer held on the way, the first included.",
    },
    "mistakes": {
        "count": "Lives that were called dead by at least one observer while they were none.",
        "episodes": "Clusters of them that have one cause: mistakes come together.",
        "censored": "Mistakes that were not corrected before the service died or the run ended.",
        "duration_mean": "How long a mistake lasted, on average.",
        "rate": "Count for each service-second.",
        "rate_upper95": "The exact one-sided 95% Poisson bound of it. None seen in 3,000 "
        "service-seconds is at most 0.001.",
        "per_hour": "Count for each hour of the clock.",
        "per_hour_upper95": "Its one-sided 95% bound.",
        "episodes_per_hour": "Episodes for each hour of the clock.",
        "episodes_per_hour_upper95": "Its one-sided 95% bound.",
        "query_accuracy": "The share of the time in which an observer's view of a live service "
        "was right: P_A of Chen, Toueg and Aguilera.",
    },
    "recovery": {
        "count": "Disturbances of that kind.",
        "never": "Those after which somebody hadn't come back when the run ended.",
        **_SPREAD,
    },
    "join": {
        "ramp_seconds": "From the first request to the last service's first answer.",
        "p50": "The median of a join, from its request to its answer.",
        "p99": "99 of 100 joins took no longer.",
        "seen_p50": "The median from a join's answer until the last observer was told.",
        "seen_p99": "99 of 100 took no longer for that.",
        "views": "Different memberships that any observer held until all knew of all.",
        "count": "Later joins, of services that were started anew or had lost their membership.",
    },
    "reads": {
        "per_second": "Reads of the group.",
        "seconds_p50": "The median of the time that one took.",
        "seconds_p99": "99 of 100 took no longer.",
        "rows_read_per_second": "Rows that they read.",
        "bytes_read_per_second": "What they read.",
    },
    "load": {
        **_LOAD,
        **{
            f"{figure}_per_service_second": "The same for each service and second."
            for figure in _LOAD
        },
        "server_cpu_cores_per_service_second": "CPU seconds for each service and second.",
        "server_rss_max_bytes_per_service_second": "The same for each service; it is no rate.",
        "yardstick_seconds": "The mean CPU time of one fixed piece of work, done once a second: "
        "the slower the machine, the more.",
    },
    "memory": {
        "max_bytes": "The most that the harness's processes held together.",
        "growth_bytes_per_hour": "By which the process that grew most in the second half of a run "
        "grew; a robust slope (Theil and Sen).",
        "growth_share": "What that slope amounts to in that half, as a share of what it held.",
    },
    "audit": {
        "lateness_p99": "By which the harness's own beats and pings went out late, in the steady "
        "state, at the 99th percentile.",
        "lateness_p99_ramp": "The same while the services joined.",
        "lateness_p99_failover": "The same during outages of servers.",
        "lateness_p99_impaired": "The same of shards whose racks had bad links.",
        "clock_error_max": "How far the worst of the shards' clocks may be off.",
        "loop_stall_max": "For which an event loop of the harness stood still at the worst.",
        "gil_stall_max": "For which the threads of a shard stood still at the worst.",
        "rate_reached": "Beats and pings sent, of those that live services owed.",
        "harness_cpu_cores": "Cores that the harness used on average.",
        "model_error_p50": "How far a death's detection lay from the closed form for that victim's "
        "own last renewal; the median.",
        "model_error_p99": "The same at the 99th percentile.",
        "faults_confirmed": "Faults that a probe saw take hold; unequal to those planned, the run "
        "is invalid.",
        "losses": "Live services that learnt that they had lost their membership although nothing "
        "had been made to fail.",
    },
}
"""By part of a backend's summary, and figure."""
