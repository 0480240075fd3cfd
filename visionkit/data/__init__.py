"""Samples, their transforms and the loader that feeds training."""
