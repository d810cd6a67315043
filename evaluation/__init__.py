"""Scores of synthesized pictures, and reports on them."""
