"""The meter: reads the log, folds each record once, keeps the counts."""
