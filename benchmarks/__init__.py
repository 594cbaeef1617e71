"""Benchmarks of this project beside its peers: `python -m benchmarks`, see the README of this folder."""
