"""Segments of photographs and their label maps: cut out, kept in a memory bank, found again, pasted together."""
