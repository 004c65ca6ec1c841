"""Results for human eyes. Reads summaries and stored results only."""
