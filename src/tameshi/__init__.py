"""Machine-learning papers as working parts, each with a test report attached."""

__version__ = "0.1.0"
