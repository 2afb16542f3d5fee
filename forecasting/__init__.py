"""Demand is forecast here and turned into guarded quotas and server targets.

models/ (history to calibrated quantiles) and decisions/ (quantiles to plans) never import each other; jobs.py
joins them, frames.py names the tables they hand each other, cli_files.py is the file-to-file command line.
"""
