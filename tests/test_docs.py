"""The documents: links lead somewhere, snippets parse, commands have these flags, files and messages are those of the
code.
"""

import ast
import json
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "examples" / "README.md"])
ROOMS = ("cellwright", "kernels", "dataloader", "nets", "engine", "launch")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def text_of(page):
    return page.read_text(encoding="utf-8")


def anchors(page):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text_of(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_page
def test_every_relative_link_leads_to_a_file_and_a_heading(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", text_of(page))):
        if re.match(r"\w+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@each_page
def test_python_and_yaml_snippets_parse(page):
    import yaml

    for language, snippet in FENCE.findall(text_of(page)):
        if language == "python":
            ast.parse(snippet)
        if language == "yaml":
            assert list(yaml.safe_load_all(snippet))


MODULES = {
    **{path.stem: path.stem for path in ROOT.glob("launch/*.py")},
    **{path.parent.name: f"{path.parent.name}.__main__" for path in ROOT.glob("launch/*/__main__.py")},
}
HELPS = """
import contextlib, importlib, io, json, sys
helps = {}
for module in sys.argv[1:]:
    with contextlib.redirect_stdout(io.StringIO()) as told, contextlib.suppress(SystemExit):
        importlib.import_module(f"cellwright.launch.{module}").main(["--help"])
    helps[module] = told.getvalue()
print(json.dumps(helps))
"""


def commands(page):
    """(commands that share a line's flags, those flags) of the lines of a page that start one of `launch`."""
    lines = [line for _, snippet in FENCE.findall(text_of(page)) for line in snippet.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"`([^`\n]+)`", FENCE.sub("", text_of(page)))
    for line in lines:
        found = re.search(r"(?:python -m (?:cellwright\.)?launch\.|\bcellwright )(\w+)(.*)", line.partition("  #")[0])
        if not found or found[1] not in MODULES or found[1] == "bench":  # each of its members has flags of its own
            continue
        words, sharing = re.sub(r"[\[\]]", "", found[2]).partition(" > ")[0], [found[1]]
        if found[1] == "run":
            sharing += [word for word in shlex.split(words) if word in ("eval", "profile", "doctor")] or ["train"]
        if flags := set(re.findall(r"--\w+", words)):
            yield sharing, flags


@cache
def flags():
    """{command: all flags that its help names} of the commands that pages name with flags."""
    named = sorted({command for page in PAGES for sharing, _ in commands(page) for command in sharing})
    line = [sys.executable, "-c", HELPS, *(MODULES[command] for command in named)]
    helps = json.loads(subprocess.run(line, capture_output=True, text=True, check=True, timeout=300).stdout)
    found = {command: set(re.findall(r"--\w+", helps[MODULES[command]])) for command in named}
    assert all(found.values()), found
    found["profile"].add("--compare")  # the comparison of two profiles has a parser of its own
    return found


@each_page
def test_commands_have_these_flags(page):
    for sharing, used in commands(page):
        known = set().union(*(flags()[command] for command in sharing))
        assert used <= known, (sharing, used - known)


@each_page
def test_files_that_are_named_are_there(page):
    files = {
        str(path.relative_to(ROOT))
        for room in (*ROOMS, "tests", "examples", "docs")
        for path in ROOT.glob(f"{room}/**/*.*")
    }
    for name in re.findall(r"`([\w./]+/\w+\.(?:py|c|h|inc|js|md|json|svg))`", FENCE.sub("", text_of(page))):
        if re.search(r"\b[A-Z]+\b", name.partition("README")[0]):  # RUN/README.md, launch/NAME.py
            continue
        assert any(file == name or file.endswith(f"/{name}") for file in files), name


@cache
def strings():
    """Every string of the code, with … where a value is put in."""
    found = []
    for room in ROOMS:
        for path in ROOT.glob(f"{room}/**/*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    found.append("".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return "\n".join(found)


def test_messages_of_the_troubleshooting_page_are_those_of_the_code():
    messages = re.findall(r"^### `(.+)`$", text_of(ROOT / "docs" / "troubleshooting.md"), re.MULTILINE)
    assert len(messages) > 10
    for message in messages:
        pattern = ".{0,60}".join(re.escape(part.strip()) for part in message.split("…"))
        assert re.search(pattern, strings()), message
