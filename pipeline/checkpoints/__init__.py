"""Checkpoint files: ours, and the public ones that are imported."""
