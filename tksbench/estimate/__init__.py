"""What a run will cost: from its records, from runs of the same shape, or by a model. Imports no torch and no numpy."""
