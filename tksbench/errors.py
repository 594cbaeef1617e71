"""The one exception family that a user's mistake may raise; every command line turns it into exit status 2."""

from __future__ import annotations


class TksbenchError(Exception):
    """Bad input or an unusable environment: the message says what, where, and what would be right."""
