"""Backends run a step: ``protocol.py`` is their seam to the engine, ``choice.py`` picks one of the others."""
