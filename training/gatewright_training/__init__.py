"""Training of the detector's base model: corpus, grammars, augmentation and cross-validation."""
