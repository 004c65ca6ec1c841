"""What several measures ask of one record is worked out once."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from weakref import WeakKeyDictionary

import pandas as pd

from bench.result import Record

Derived = Callable[[Record], pd.DataFrame]


def once(derive: Derived) -> Derived:
    """Keep the rows that ``derive`` finds in a record for as long as the record lives.

    Whoever asks gets a frame of its own over the same values, to add columns to. Values that are
    changed in place, in it or in the record, are not looked for.
    """
    known: WeakKeyDictionary[Record, pd.DataFrame] = WeakKeyDictionary()

    @wraps(derive)
    def derived(record: Record) -> pd.DataFrame:
        if record not in known:
            known[record] = derive(record)
        return known[record].copy(deep=False)

    return derived
