"""Application classes."""
