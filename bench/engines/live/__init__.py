"""The live engine: real servers, real services, real failures."""
