"""Shared words, Prometheus instruments and JSON logs; imports nothing else of Slotcast."""
