"""The model card: what is measured of a release, and how it is worded."""
