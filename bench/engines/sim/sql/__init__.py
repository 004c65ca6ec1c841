"""Heartbeats in a database, simulated."""
