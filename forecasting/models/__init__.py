"""History in, calibrated quantiles and joint sample paths out; pure apart from the optimiser's own process."""
