"""Generators folded for inference, fast on CPUs."""
