"""Manifests as nasty as people write them: every style of YAML, comments anywhere, each comment with its owner."""

from __future__ import annotations

import random
import re
from typing import NamedTuple

NAMES = ("a", "b-model", "c.1", "é-x", "on", "d")


class Nasty(NamedTuple):
    """A text, the variants that it declares, and of each comment the variant with which it may go, if any."""

    text: str
    names: tuple[str, ...]
    owners: dict[str, str]


def nasty(seed: int) -> Nasty:
    """Return the manifest that a seed stands for; the same one each time."""
    pen = _Pen(random.Random(seed))
    dice, step = pen.dice, pen.dice.choice([2, 2, 2, 4, 1, 3])
    names = dice.sample(NAMES, dice.randint(0, 5))
    sections = [["version: 1" + pen.tail()], pen.variants(names, step), pen.roles(names, step)]
    if dice.random() < 0.5:
        sections.append(["locations:" + pen.tail(), " " * step + "w: {store: flat, root: /w}" + pen.tail()])
    dice.shuffle(sections)
    lines = pen.between([0, 2])
    lines += ["---" + dice.choice(["", " " + pen.comment()])] if dice.random() < 0.15 else []
    for section in sections:
        lines += [*pen.between([0, 0, step]), *section]
    lines += pen.between([0, step, step * 2])
    lines += ["...", *pen.between([0])] if dice.random() < 0.1 else []
    text = "\n".join(lines) + ("\n" if dice.random() < 0.8 else "")
    text = text.replace("\n", "\r\n") if dice.random() < 0.25 else text
    return Nasty("\ufeff" + text if dice.random() < 0.15 else text, tuple(names), pen.owners)


def marks(text: str) -> list[str]:
    """Return the comments of a text, in their order."""
    return re.findall(r"#c\d+;", text)


class _Pen:
    """Writes lines, and remembers whose comments are whose."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.owners: dict[str, str] = {}

    def comment(self, owner: str = "") -> str:
        said = f"#c{len(self.owners)};"
        self.owners[said] = owner
        return said

    def tail(self, owner: str = "") -> str:
        chance = self.dice.random()
        if chance < 0.75:
            return "" if chance < 0.65 else "  "
        return ("\t" if chance > 0.95 else "  ") + self.comment(owner)

    def between(self, columns: list[int], owner: str = "") -> list[str]:
        lines = []
        while self.dice.random() < 0.25:
            lines.append("" if self.dice.random() < 0.4 else " " * self.dice.choice(columns) + self.comment(owner))
        return lines

    def word(self, text: str, *, flow: bool = False) -> str:
        forms = [f'"{text}"', f"'{text}'"] + ([] if flow and ":" in text else [text] * 4)
        return self.dice.choice(forms)

    def colon(self) -> str:
        return self.dice.choice([":"] * 8 + [" :", "  :"])

    def variants(self, names: list[str], step: int) -> list[str]:
        if not names:
            return [self.dice.choice(["variants:", "variants: {}", "variants: ~", "variants: { }"]) + self.tail()]
        chance = self.dice.random()
        if chance < 0.12:
            inner = ", ".join(map(self._inline, names)) + self.dice.choice(["", " ", ", "])
            return [f"variants: {{{inner}}}{self.tail()}"]
        if chance < 0.27:
            return self._brackets(names)
        lines = [self.word("variants") + self.colon() + self.tail()]
        for name in names:
            lines += [*self.between([0, step, step + 1, step * 2]), *self._entry(name, step, step)]
        return lines

    def _inline(self, name: str) -> str:
        return f"{self.word(name)}: {{source: {self.word('hf:o/' + name, flow=True)}}}"

    def _brackets(self, names: list[str]) -> list[str]:
        lines = ["variants: {" + self.tail()]
        for name in names:
            comma = "" if name == names[-1] and self.dice.random() < 0.5 else ","
            if self.dice.random() < 0.3 and "#" not in lines[-1]:
                lines[-1] += f" {self._inline(name)}{comma}"
            else:
                lines += [*self.between([2]), f"  {self._inline(name)}{comma}"]
            lines[-1] += "  " + self.comment(name) if self.dice.random() < 0.3 else ""
        return [*lines, " }" + self.tail()]

    def _entry(self, name: str, column: int, step: int) -> list[str]:
        pad, source = " " * column, f"hf:o/{name}"
        chance = self.dice.random()
        if chance < 0.15:
            said = f"{{ source: {self.word(source, flow=True)}, metadata: {{x: [1,2 , three]}} }}"
            return [f"{pad}{self.word(name)}{self.colon()}   {said}{self.tail(name)}"]
        if chance < 0.25:
            first = f"{pad}{self.word(name)}{self.colon()} {{{self.tail(name)}"
            inner = f"{pad}  source: {self.word(source, flow=True)}{self.dice.choice(['', ','])}{self.tail(name)}"
            return [first, inner, f"{pad}}}{self.tail(name)}"]
        pad += " " * step
        source_line = f"{pad}source{self.colon()} {self.word(source)}{self.tail(name)}"
        fields = [[source_line], *(self._field(name, kind, pad, step) for kind in self._kinds())]
        self.dice.shuffle(fields)
        lines = [f"{' ' * column}{self.word(name)}{self.colon()}{self.tail(name)}", *fields[0]]
        for field in fields[1:]:
            lines += [*self.between([0, len(pad), len(pad) + 1], name), *field]
        return lines

    def _kinds(self) -> list[str]:
        kinds = ["files", "|", "|-", "|+", ">", ">+", "plain", "quoted", "list", "flat list", "empty", "below"]
        return self.dice.sample(kinds, self.dice.randint(0, 3))

    def _field(self, name: str, kind: str, pad: str, step: int) -> list[str]:
        tail, inner = self.tail, pad + " " * step
        key = {"|": "one", "|-": "two", "|+": "three", ">": "four", ">+": "five"}.get(kind, kind.replace(" ", "_"))
        if kind[0] in "|>":
            blank = [""] if self.dice.random() < 0.2 else []
            text = [f"{pad}  text # no comment", *blank, f"{pad}    deeper: text", f"{pad}  - last", *blank]
            return [f"{pad}{key}: {kind}{tail(name)}".replace("\t", "  "), *text]
        match kind:
            case "files":
                return [f'{pad}files: ["*a.gguf",{tail(name)}', f"{pad}   b]{tail(name)}"]
            case "plain":
                return [f"{pad}plain: some words", f"{pad}  that go on{tail(name)}"]
            case "quoted":
                return [f'{pad}quoted: "some words', f'{pad} # no comment: \\"x"{tail(name)}']
            case "list":
                return [f"{pad}list:{tail(name)}", f"{inner}-   é{tail(name)}", f"{inner}- b{tail(name)}"]
            case "flat list":
                return [f"{pad}flat_list:{tail(name)}", f"{pad}- a{tail(name)}", f"{pad}- k: v{tail(name)}"]
            case "below":
                return [f"{pad}below:{tail(name)}", f"{pad} value{tail(name)}"]
        return [f"{pad}empty:{tail(name)}"]

    def roles(self, names: list[str], step: int) -> list[str]:
        if not names or self.dice.random() < 0.2:
            return []
        lines, pad = ["roles:" + self.tail()], " " * step
        for role in self.dice.sample(["chat", "draft", "vision"], self.dice.randint(1, 3)):
            listed = self.dice.sample(names, self.dice.randint(0, len(names)))
            lines += self.between([0, step])
            chance = self.dice.random()
            if not listed:
                lines.append(f"{pad}{role}: []{self.tail()}")
            elif chance < 0.3:
                inner = self.dice.choice([", ", ",", " , "]).join(map(self.word, listed))
                lines.append(f"{pad}{role}: [{inner}{self.dice.choice(['', ' ', ','])}]{self.tail()}")
            elif chance < 0.5:
                lines.append(f"{pad}{role}: [{self.tail()}")
                for name in listed:
                    comma = "," if name != listed[-1] or self.dice.random() < 0.5 else ""
                    comment = "  " + self.comment(name) if self.dice.random() < 0.3 else ""
                    lines.append(f"{pad}  {self.word(name)}{comma}{comment}")
                lines.append(f"{pad} ]{self.tail()}")
            else:
                deep = self.dice.choice([step, step * 2, step + 1])
                lines.append(f"{pad}{role}{self.colon()}{self.tail()}")
                for name in listed:
                    lines += self.between([0, deep, step])
                    lines.append(f"{' ' * deep}-{self.dice.choice([' ', '   '])}{self.word(name)}{self.tail(name)}")
        return lines
