"""Judging a run: pure functions from the frames of a `Record` to rows and figures.

Nothing here reads a clock, a file or a server, so a result can be judged again years later.
"""
