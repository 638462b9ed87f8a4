"""Measurements of speed and memory, always side by side in one run."""
