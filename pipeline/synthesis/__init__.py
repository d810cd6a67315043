"""Label maps to images, exactly once."""
