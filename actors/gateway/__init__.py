"""Runs one gateway process: HTTP requests come in, placements go out, frames come in, events go out."""
