"""Decides which replica, tier or variant takes a request. Pure: what is known comes in, a choice comes out."""
