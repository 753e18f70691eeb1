"""How data rests: envelopes, key rings, field declarations, masking, secret providers."""
