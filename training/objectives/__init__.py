"""The objective of both networks: discriminators, losses, augmentation, regularisation."""
