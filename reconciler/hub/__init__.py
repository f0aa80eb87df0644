"""A small hub on loopback that speaks the Hugging Face Hub's API, and makers of small weights: demo and test kit."""

from __future__ import annotations

from reconciler.hub.server import Hub, Request

__all__ = ["Hub", "Request"]
