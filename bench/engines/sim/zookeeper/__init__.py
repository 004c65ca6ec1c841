"""Sessions on a ZooKeeper ensemble, simulated."""
