"""What prefixes for documents and queries do to a model that was not trained with them: the local one.

    python -m benchmarks.prefixes

Documents are the demonstration's descriptions, and the query that is to find one is its tags. The figure is the mean
reciprocal rank of each query's own document among all.
"""

import json
import sys
from importlib.resources import files

import numpy as np

from services.embedder.minilm import loaded_model

PREFIXES = {
    "none, as the reference sends texts": ("", ""),
    "E5's (`passage: `, `query: `)": ("passage: ", "query: "),
    "only the query's (`query: `)": ("", "query: "),
    "an instruction before the query": (
        "",
        "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery: ",
    ),
}


def pairs_of_texts() -> list[tuple[str, str]]:
    """Return each body's or mission's text, as the demonstration embeds it, and its tags, as one would search."""
    lines = files("services.demo").joinpath("solar_system.jsonl").read_text("utf-8").splitlines()
    items = [json.loads(line) for line in lines]
    return [(f"{item['name']}. {item['description']}", ", ".join(item["tags"])) for item in items if item.get("tags")]


def mean_reciprocal_rank(document_prefix: str, query_prefix: str) -> float:
    """Return the mean reciprocal rank of each query's own document."""
    model, pairs = loaded_model(), pairs_of_texts()
    documents = model.embed([document_prefix + document for document, _ in pairs])
    queries = model.embed([query_prefix + query for _, query in pairs])
    similarities = queries @ documents.T
    ranks = (similarities >= np.diag(similarities)[:, None]).sum(axis=1)
    return float((1 / ranks).mean())


def main() -> None:
    """Print a line for each pair of prefixes."""
    sys.stdout.write(f"{len(pairs_of_texts())} texts, mean reciprocal rank\n")
    for name, (document, query) in PREFIXES.items():
        sys.stdout.write(f"{mean_reciprocal_rank(document, query):.3f}  {name}\n")


if __name__ == "__main__":
    main()
