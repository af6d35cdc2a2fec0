"""Measurements too long for the tests; their figures stand in ``benchmarks/results/``."""
