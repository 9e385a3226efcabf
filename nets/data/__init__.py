"""Data before it is trained on: files, data sets, batches, parts, normalization, augmentation."""
