"""Measurements: what the method can and cannot do."""
