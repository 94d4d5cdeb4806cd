"""Sampling the machine while runs are open: processor, memory, disk, network, and GPUs."""

from autotrack.sampler.sampler import Handle, start

__all__ = ["Handle", "start"]
