"""The pieces that the foundation is put together from: what one package needs of another is filled in here."""
