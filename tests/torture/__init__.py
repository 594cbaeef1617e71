"""What holds a run together when the machine does not: the drivers of `make torture` and of its short form."""
