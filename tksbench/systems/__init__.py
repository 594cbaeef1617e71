"""Published systems that the paper compares itself with, one module each."""
