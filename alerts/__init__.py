"""Holds what is promised to users and who is alerted when it isn't kept, the last step of a token's way.

That is objectives, windows and receivers, and the files that are generated from them. Knows no dashboard.
"""
