"""From numbers to pages."""

from pathlib import Path

TEMPLATES = Path(__file__).parent
"""Folder of the pages' templates."""
