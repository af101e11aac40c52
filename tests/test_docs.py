"""The documents: links lead somewhere, snippets parse, commands have these flags, files and messages are those of the
code.
"""

import ast
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


@cache
def flags_of(command):
    """All flags that the help of a command names."""
    done = subprocess.run(
        [sys.executable, "-m", f"cellwright.launch.{command}", "--help"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, (command, done.stderr)
    # The comparison of two profiles has a parser of its own.
    return set(re.findall(r"--\w+", done.stdout)) | ({"--compare"} if command == "profile" else set())


def commands(page):
    """(command, its flags) of the lines of a page that start one of `launch`."""
    lines = [line for _, snippet in FENCE.findall(text_of(page)) for line in snippet.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"`([^`\n]+)`", FENCE.sub("", text_of(page)))
    for line in lines:
        found = re.search(r"(?:python -m (?:cellwright\.)?launch\.|\bcellwright )(\w+)(.*)", line.partition("  #")[0])
        if not found:
            continue
        command, words = found[1], re.sub(r"[\[\]]", "", found[2])
        if command == "run":
            named = [word for word in shlex.split(words) if word in ("eval", "profile", "doctor")]
            yield command, set(re.findall(r"--\w+", words)) - flags_of(named[0] if named else "train")
        else:
            yield command, set(re.findall(r"--\w+", words.partition(" > ")[0]))


@each_page
def test_commands_have_these_flags(page):
    for command, flags in commands(page):
        if (ROOT / "launch" / f"{command}.py").exists() or (ROOT / "launch" / command / "__main__.py").exists():
            known = flags_of(command) if flags else set()
            if command == "bench":
                continue  # each of its members has flags of its own
            assert flags <= known, (command, flags - known)


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
