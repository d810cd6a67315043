"""Compiled generators: made once for a device, checked against float32, loaded without the Python network."""
