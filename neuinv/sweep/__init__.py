"""Sweeps of a notebook over parameters, on one machine or many, which a kill cannot corrupt."""
