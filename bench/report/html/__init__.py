"""Pages that open offline: one file, no script."""
