"""Decisions: quantiles → quotas, servers → guardrails → plan → score. Pure: no I/O, no clock."""
