"""`python -m tksbench.doctor`: whether this machine or cluster can train, and what to do where it cannot."""
