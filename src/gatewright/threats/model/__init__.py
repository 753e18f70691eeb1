"""The learned part of the detector: features, the linear model, and how it is trained."""
