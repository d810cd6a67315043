"""Statistics of images and predictions, one file a metric."""
