"""Exact pattern modulation: windows of the label map, found once and looked up."""
