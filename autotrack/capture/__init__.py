"""Describing what surrounds a training: command, Python, host, code, packages, machine. `collect.py` runs the providers."""
