"""Metrics, statistics, tables and figures, all derived from the records and the stored test logits."""
