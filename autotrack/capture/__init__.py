"""Describing what surrounds a training: command, code, packages, machine."""
