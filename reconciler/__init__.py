"""Terraform for model weights: a manifest in git, a plan in review, an apply that never loses a byte."""

__version__ = "0.1.0"
