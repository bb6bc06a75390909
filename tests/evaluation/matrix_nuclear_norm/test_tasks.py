"""How the Inspect task of the matrix nuclear norm is run small; what it scores is tested in test_report.py."""

SMALL = {"representation_compression": {"n": 1, "characters": 40}}
