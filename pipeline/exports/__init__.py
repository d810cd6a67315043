"""Sets of pictures in the formats of other tools."""
