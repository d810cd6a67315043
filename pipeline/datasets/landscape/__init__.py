"""How the procedural landscapes are drawn: noise, moods, a canvas that is lit at the end, terrain and objects."""
