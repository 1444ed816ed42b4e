"""Real sentences that every installation has: what Python's library and the installed packages say of themselves.

The docstrings of their modules, classes and functions are prose about thousands of subjects, under licences that permit
this use (Python's own, MIT, BSD, Apache), and none of them has to be kept here or downloaded.
"""

import ast
import random
import re
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

#: Whole sentences, not fragments and not tables: by characters and by spaces.
_SHORTEST, _LONGEST, _LEAST_SPACES = 25, 400, 4
_PARAGRAPH = re.compile(r"\n\s*\n")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z`'\"(])")
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_SEED = 7


def sentences_of(text: str) -> Iterator[str]:
    """Return the sentences of a text, white space joined; paragraphs end sentences too."""
    for paragraph in _PARAGRAPH.split(text):
        for sentence in _SENTENCE_END.split(" ".join(paragraph.split())):
            if _SHORTEST <= len(sentence) <= _LONGEST and sentence.count(" ") >= _LEAST_SPACES:
                yield sentence


def docstrings_of(source: str) -> Iterator[str]:
    """Return the docstrings of a module's source; none where it cannot be parsed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and (text := ast.get_docstring(node)):
            yield text


def mixed(sentences: Iterable[str]) -> list[str]:
    """Return each sentence once, in an order that is the same every time and has nothing to do with where it is from.

    The first of them are thus a fair sample of all, whatever their number.
    """
    unique = sorted(set(sentences))
    random.Random(_SEED).shuffle(unique)
    return unique


def installed_sentences() -> list[str]:
    """Return the sentences of all docstrings that are installed with this interpreter, mixed."""
    return mixed(
        sentence
        for path in _sources()
        for text in docstrings_of(path.read_text("utf-8", errors="replace"))
        for sentence in sentences_of(text)
    )


def _sources() -> Iterator[Path]:
    """Return the Python files of library and packages; tests speak of nothing."""
    for folder in {sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for path in Path(folder).rglob("*.py"):
            if not {"test", "tests"} & set(path.parts):
                yield path
