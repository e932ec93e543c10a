"""Counts to burn: what is promised (OpenSLO), how fast its budget burns, and the rules that page. See objective.py."""
