"""Fuzzing of every reader: `python -m tests.fuzz`, and its short form in `test_fuzz.py`."""
