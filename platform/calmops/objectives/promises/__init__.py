"""Reads what is promised from the files of one folder: objectives (OpenSLO), windows, prices and maintenance."""
