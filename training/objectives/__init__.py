"""What the two networks play for: discriminators, losses, augmentation, regularisation."""
