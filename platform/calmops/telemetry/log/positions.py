"""Where a reader of the log stands: what a source of envelopes needs to know to go on."""

Positions = dict[str, int]  # a spool's or a partition's name to the position of the last record that was read
