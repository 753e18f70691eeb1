"""The learned model of the detector: features, linear model and cascade."""
