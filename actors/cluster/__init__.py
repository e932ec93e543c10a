"""Keeps who is there and ends who is lost: registry, reapers, a node's facts. It imports no other room of actors."""
