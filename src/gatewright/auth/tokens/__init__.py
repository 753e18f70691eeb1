"""Tokens: made, checked, remembered and revoked."""
