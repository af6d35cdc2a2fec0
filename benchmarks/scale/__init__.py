"""Measurements: at the size of RNAcentral."""
