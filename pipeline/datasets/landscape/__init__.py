"""How the procedural landscapes are drawn: noise, lightings, a canvas that is lit at the end, terrain and objects."""
