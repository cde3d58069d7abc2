"""Contents for the golden files, made by a program: prose, markup, tables, code, odd bytes. The same every time."""

from __future__ import annotations


class Numbers:
    """A sequence of numbers below 2**31 (a linear congruence), the same in every version of everything."""

    def __init__(self, seed: int) -> None:
        self.state = seed

    def below(self, limit: int) -> int:
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self.state >> 33) % limit

    def pick(self, choices: str) -> str:
        """Return one of the words of `choices`."""
        words = choices.split()
        return words[self.below(len(words))]


def prose(seed: int, size: int) -> bytes:
    """Return sentences about weather and boats."""
    numbers, said = Numbers(seed), ""
    while len(said) < size:
        who = numbers.pick("Anna Peter captain harbourmaster sister neighbour nobody")
        does = numbers.pick("watched painted forgot sold repaired counted remembered")
        what = numbers.pick("boat lighthouse window net lantern map weather island")
        when = numbers.pick("again yesterday slowly twice before")
        said += f"{who} {does} the {numbers.pick('old blue small broken quiet')} {what} {when}, "
        said += f"and the {what} was {numbers.pick('gone late wet empty finished')}.\n" if numbers.below(3) else "then left.\n\n"
    return said.encode()[:size]


def base() -> bytes:
    """Return the reference of the golden files that name one."""
    return prose(1, 260) + table(1, 4) + noise(4, 120) + code(1) + prose(6, 200)


def table(seed: int, rows: int) -> bytes:
    """Return comma-separated lines."""
    numbers = Numbers(seed)
    lines = [f"{1000 + 7 * i},{numbers.below(90)}.{numbers.below(10)},{numbers.pick('north south east')},," for i in range(rows)]
    return ("id,speed,from,,\n" + "\n".join(lines) + "\n").encode()


def markup(rows: int) -> bytes:
    """Return nested tags, with what is wrong in them too."""
    lines = [
        f'  <item id="{i}"><name>{"xyz"[i % 3]} {i * i}</name><br/>\n    <v k="{i % 5}">{i / 4}</v></item>' for i in range(rows)
    ]
    return ("<?xml version='1.0'?>\n<!-- a list -->\n<list>\n" + "\n".join(lines) + "\n</list>\n</list>< a << b>\n").encode()


def code(functions: int) -> bytes:
    """Return functions in no language, and an object of keys and values."""
    parts = [f"int f_{i}(int a, int b) {{\n\tif (a > {i})\n\t\treturn b * {i + 3};\n\treturn f_{max(i - 1, 0)}(b, a);\n}}\r\n"
             for i in range(functions)]  # fmt: skip
    return ("".join(parts) + '{"name": "f", "values": [1, 2, 3], "next": null}\n').encode()


def noise(seed: int, size: int) -> bytes:
    """Return bytes without any order."""
    numbers = Numbers(seed)
    return bytes(numbers.below(256) for _ in range(size))


def odd() -> bytes:
    """Return what is rare: every byte, UTF-8, broken UTF-8, NULs, many fields in a line, deep tags."""
    parts = [bytes(range(256)), "Größe, naïve, 水, 🙂\n".encode(), b"\xff\xfe\xc3(\n", bytes(40), b"," * 300 + b"\n1,2,3\n"]
    return b"".join([*parts, b"<a>" * 70 + b"</a>" * 72, b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" * 2])
