"""Does a synthetic set make a segmenter better: trainings with and without it, tested on the same real photographs."""
