"""A licence's title tells its name."""

from __future__ import annotations

import pytest

from reconciler.ollama.licenses import license_of


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("MIT License\n\nCopyright (c) 2026 Somebody\n\nPermission is hereby granted, free of charge", "mit"),
        ("The MIT License (MIT)\n", "mit"),
        ("\n                    Apache License\n                Version 2.0, January 2004\n", "apache-2.0"),
        ("LLAMA 3.2 COMMUNITY LICENSE AGREEMENT\nLlama 3.2 Version Release Date: September 25, 2024\n", "llama3.2"),
        ("LLAMA 2 COMMUNITY LICENSE AGREEMENT\t\n", "llama2"),
        ("META LLAMA 3 COMMUNITY LICENSE AGREEMENT\n", "llama3"),
        ("Gemma Terms of Use \n\nLast modified: February 21, 2024\n", "gemma"),
        ("GNU GENERAL PUBLIC LICENSE\n   Version 3, 29 June 2007", "gpl-3.0"),
        ("Creative Commons Attribution-NonCommercial 4.0 International", "cc-by-nc-4.0"),
    ],
)  # fmt: skip
def test_a_title_names_its_licence(text: str, name: str) -> None:
    assert license_of(text) == name


@pytest.mark.parametrize(
    "text", ["", "MIT", "All rights reserved.", "Our own terms. " * 40 + "MIT License", "permitted under limits"]
)
def test_what_no_title_says_is_not_guessed(text: str) -> None:
    assert license_of(text) is None
