"""What is promised: objectives (OpenSLO), windows, prices, maintenance, read from one folder."""
