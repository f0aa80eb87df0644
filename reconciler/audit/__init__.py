"""Answers about a machine and its manifest that change nothing: what is there, what it costs, what serves, why."""
