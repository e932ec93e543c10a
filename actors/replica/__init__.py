"""One replica's processes: rank 0 with its engine thread, and the other ranks of its gang."""
