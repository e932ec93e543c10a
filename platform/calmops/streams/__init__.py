"""Streams: journal, links, migration, projection, ledger. Pure: time is passed in, nothing waits. Knows no Ray and no HTTP."""
