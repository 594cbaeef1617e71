"""From recipes to finished runs: the plan, its cost, and the executor. Imports no torch and no numpy."""
