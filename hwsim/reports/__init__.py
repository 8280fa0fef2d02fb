"""What did we find? One module for every report in ``reports/``."""
