"""Benchmarks: each file is a command that prints a table and writes JSON."""
