"""Tables: regression on granular balls, and correlations with a learned residual."""
