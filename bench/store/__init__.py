"""The only reader and writer of results; also the way into pandas.

`results/<scenario>/<run-id>/` holds manifest.json, scenario.yaml, events.parquet,
metrics.parquet and summary.json, each with its schema version and the run's id. While runs are
still coming in, each is a folder below `parts/`, put there in one step. As long as `parts/` is
there, it is what counts; so a killed harness leaves a readable directory at every instant.
"""

from bench.store.excerpt import excerpt
from bench.store.listing import Listed, results
from bench.store.loading import Loaded, load
from bench.store.recording import Recording, Store, resume
from bench.store.stamped import ResultError

__all__ = [
    "Listed",
    "Loaded",
    "Recording",
    "ResultError",
    "Store",
    "excerpt",
    "load",
    "results",
    "resume",
]
