"""Tell people and programs what a plan would do and what an apply did. Pure: values in, lines out."""
