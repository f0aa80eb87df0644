"""Ollama: names, manifests, its store directory and its API. The store and the source that use them stand elsewhere."""
