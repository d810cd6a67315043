"""What `usefulness` and `study` share: trainings that are kept by content, and what several seeds say together."""
