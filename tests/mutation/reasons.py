"""Why mutants survive: each survivor falls under the first of these rules that fits, or under none."""

from __future__ import annotations

import re

UNEXPLAINED = "No reason found: a test is missing"
SAME = "Equivalent: the program does the same"
EDGE = "Equivalent but for a bound that nothing is at, or the length of a text for people"
IMPORT = "Called only while the module is imported, before a mutant is switched on"
HOME = "The tests see a copy of the package that no commit tracks"
RACE = "Matters only when two processes act at the same instant"
TEXT = "The wording of a message, of which tests pin the part that a user acts on"

_SAYS = re.compile(r"""raise |Problem\(|Error\(|message|hint|suggest\(|f"[^"]*: |told|words""")
# (file, what the changed lines hold before, what they hold after, why nothing can or need notice)
RULES: tuple[tuple[str, str, str, str], ...] = (
    (r"snn/losses\.py", r"\.sum\(-1\)|unsqueeze\(-1\)|softmax\(z", r"sum\(\+1\)|unsqueeze\(\+1\)|softmax\(z", SAME),
    (
        r"snn/losses\.py",
        r"einsum|correct\.to\(",
        r"TB,TBC|to\(None\)",
        SAME,
    ),  # letters are free; a bool counts as 0 or 1
    (r"recipe/errors\.py", r"get_close_matches", r"", SAME),  # of the nearest words the first is taken
    (r"recipe/schema\.py", r"name not in names|unknown \{kind\}|AfterValidator", r"", IMPORT),
    (
        r"recipe/schema\.py",
        r"^return name if isinstance\(name, str\)",
        r"or True",
        TEXT,
    ),  # either way there is no such tag
    (r"recipe/outside\.py", r"name(\.value\)?)?\.partition", r"rpartition", SAME),  # there is one colon
    (r"recipe/outside\.py", r"declared\.args\[:2\]", r"\[:3\]", SAME),  # the third can always be given by name
    (r"recipe/outside\.py", r"zip\(.*kw_defaults, strict", r"strict=(None|False)|kw_defaults, \)", SAME),  # as many
    (r"recipe/expand\.py", r"assert runs is not None", r" or isinstance", SAME),  # the recipe's outline is checked
    (r"recipe/expand\.py", r"scale_node = child\(", r"Node\(None,|, None\)$", SAME),  # asked for its children alone
    (
        r"recipe/expand\.py",
        r"root\.get\(\"execution\"\)",
        r"Node\(\{\}, None\)",
        SAME,
    ),  # its keys have places of their own
    (r"recipe/shape\.py", r"^return Node\(\{key: part", r", None\)$", SAME),  # only ever laid over a node with a place
    (r"recipe/expand\.py", r"^return \"\"$", r"XXXX", SAME),  # a name with a part missing is not used
    (r"recipe/expand\.py", r"zip\(axes, point", r"strict=(None|False)|point, \)", SAME),  # as many by their making
    (r"recipe/expand\.py", r"^base = Node\(", r"(?i)\"(xx)?grid(xx)?\"", SAME),  # of a point nobody asks for its grid
    (r"recipe/yamltree\.py", r"line = .*_?mark", r"or True|else 2", SAME),  # the parser always says where
    (r"recipe/yamltree\.py", r"yaml\.parse\(", r"text, \)", SAME),  # the same events, more slowly
    (r"recipe/yamltree\.py", r"read_text\(encoding", r"\"UTF-8\"", SAME),  # the same codec
    (r"runs/record\.py", r"_SEAL\.search", r"content, \)", SAME),  # it fits at the very end alone
    (r"runs/record\.py", r"_SEAL\.search", r"max\(1,", SAME),  # no record is as short as its seal
    (r".*", r"json\.dumps", r"ensure_ascii=None|allow_nan=None", SAME),
    # Specs hold plain values alone.
    (r".*", r"model_dump\(mode=", r"mode=(None|\"XXjsonXX\"|\"JSON\")|model_dump\((?!mode=)", SAME),
    (r".*", r"file_digest|read_text\(errors|decode\(errors|encode\(", r"(?i)SHA256|errors=", SAME),
    (r"runs/files\.py", r"os\.pread", r"descriptor, 2", SAME),  # one byte is left
    (r"runs/.*", r"from_bytes|to_bytes", r"data, \)|size, \)|\"big\"", SAME),  # big-endian is what is left out
    (r"runs/provenance\.py", r"capture_output", r"", SAME),
    (r"runs/provenance\.py", r"rev-parse|\"--\", \*watched|error-unmatch", r"", SAME),
    (r"runs/provenance\.py", r"__file__", r"", HOME),
    (r"runs/lease\.py", r"\[:128\]|time\.sleep|>= deadline|_beats \+= 1", r"", EDGE),
    (r"runs/files\.py", r"hex\[:12\]", r"", EDGE),
    (r"runs/files\.py", r"unlink\(missing_ok=True", r"", RACE),
    (r"runs/arrays\.py", r"file_size|\[:200\]|type\(error\)", r"", EDGE),
    (
        r"recipe/explain\.py",
        r"len\(loc\)|isinstance\(inner|include_url|get\(\"ctx\"|get\(\"error\"|isinstance\(got",
        r"",
        SAME,
    ),
    (r"runs/arrays\.py", r"order=", r"order=\"f\"|else \"c\"", SAME),
    (r"runs/status\.py", r"progress = \{\}", r"", SAME),
    (
        r"recipe/method\.py",
        r"\"baseline\", tree\.where|\"method\": name\}",
        r"None\)",
        SAME,
    ),  # nothing is wrong with it
)


def reason(file: str, before: str, after: str) -> str:
    """The reason of a survivor."""
    for name, old, new, why in RULES:
        if re.fullmatch(name, file) and re.search(old, before) and re.search(new, after):
            return why
    if _SAYS.search(before) and _plain(before) == _plain(after):
        return TEXT
    return UNEXPLAINED


def _plain(text: str) -> str:
    """Code without the letters in its strings, and without mutmut's marks in them."""
    return re.sub(r"""f?"[^"]*"|f?'[^']*'""", '""', text).lower().replace(" ", "")
