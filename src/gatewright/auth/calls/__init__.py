"""The calls of ManufacturerAuthManager, one subject a module; each hands on to a service."""
