"""The page: tables, figures, curves and what stands behind them, as one HTML file that needs nothing else."""
