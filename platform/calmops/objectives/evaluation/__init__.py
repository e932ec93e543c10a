"""Evaluation holds promises against counts, here and now: burn rates, alerts, budgets and costs."""
