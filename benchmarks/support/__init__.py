"""What the benchmarks stand on: databases, servers, load, rounds, reports."""
