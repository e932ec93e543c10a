"""One gateway process: HTTP in, placements out, frames in, events out."""
