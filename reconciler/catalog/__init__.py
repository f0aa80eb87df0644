"""Catalogs: pages of Markdown that describe assets and how to fetch them; read, judged, never run. Pure."""
