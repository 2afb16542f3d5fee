"""History in, calibrated quantiles and joint sample paths out; no I/O but the optimiser's own process."""
