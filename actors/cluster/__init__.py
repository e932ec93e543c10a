"""Who is there and who is ended: registry, reaper, and what a node says of itself. The ground: imports none of the others."""
