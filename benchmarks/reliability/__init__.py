"""Measurements: killed, harmed, capped."""
