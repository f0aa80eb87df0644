"""Workflows of ComfyUI: which models one needs. Pure.

Both forms are read: the one that the editor saves, and the one that its API takes
(https://docs.comfy.org/specs/workflow_json). Models stand in the root's `models`, in `properties.models` of nodes, in
subgraphs, and as values of the widgets of loaders; what is muted or bypassed needs nothing.
"""

from __future__ import annotations

from reconciler.workflows.needs import Needed, Needs, read

__all__ = ["Needed", "Needs", "read"]
