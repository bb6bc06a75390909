"""What checks run on: embedded models and generated data, and the loaders of the user's own in their place."""
