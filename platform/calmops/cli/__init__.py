"""The `calmops` command. Talks to a running platform over HTTP alone; what starts one registers itself from outside."""
