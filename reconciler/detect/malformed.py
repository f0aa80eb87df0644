"""What a header that cannot be trusted is called."""

from __future__ import annotations


class MalformedHeader(ValueError):  # noqa: N818 - it names what was found, as the reports do
    """The bytes are not what their container's format allows, or claim more than we are willing to read."""
