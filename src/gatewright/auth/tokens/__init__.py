"""Tokens: issuance, verification, caching and revocation."""
