"""Sentences out of docstrings."""

from benchmarks.store.corpus import docstrings_of, mixed, sentences_of

SOURCE = '''
"""The module says one whole sentence. It says a second one, which is longer."""

def documented():
    """Do a thing that takes a sentence to say."""

def bare():
    return 1

class Thing:
    """A class has something to say as well."""
'''


def test_docstrings_of_every_kind_are_found() -> None:
    found = list(docstrings_of(SOURCE))
    assert len(found) == 3
    assert any(text.startswith("The module") for text in found)


def test_source_that_cannot_be_parsed_says_nothing() -> None:
    assert list(docstrings_of("def broken(:")) == []
    assert list(docstrings_of("null \0 byte")) == []


def test_sentences_end_at_full_stops_and_at_paragraphs() -> None:
    text = (
        "This is the first sentence of all.  And this is\nthe second one, wrapped.\n\nA paragraph ends without a stop"
    )
    assert list(sentences_of(text)) == [
        "This is the first sentence of all.",
        "And this is the second one, wrapped.",
        "A paragraph ends without a stop",
    ]


def test_fragments_and_abbreviations_are_no_sentences() -> None:
    assert list(sentences_of("Too short. x = 1")) == []
    assert list(sentences_of("Names such as e.g. this one do not end a sentence.")) == [
        "Names such as e.g. this one do not end a sentence."
    ]
    assert list(sentences_of("word " * 200)) == []


def test_mixed_sentences_come_once_in_an_order_that_does_not_depend_on_theirs() -> None:
    sentences = [f"sentence {number}" for number in range(50)]
    assert mixed(sentences + sentences[:10]) == mixed(reversed(sentences))
    assert sorted(mixed(sentences)) == sorted(sentences)
    assert mixed(sentences) != sentences
