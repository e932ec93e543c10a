"""Promises against counts, here and now: burn rates, alerts, budgets and costs."""
