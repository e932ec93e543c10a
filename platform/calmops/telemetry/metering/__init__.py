"""The meter reads the log, folds each record once and keeps the counts."""
