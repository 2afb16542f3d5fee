"""Announced events (/v1/events): an outer part; the inner ring does without it."""
