"""The topics of a whole corpus, as one page to explore with pyLDAvis."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyLDAvis
from gensim.corpora import Dictionary
from gensim.models import LdaModel
from pyLDAvis.utils import NumPyEncoder

from rnagpt_lib.curate.topics.topics import bag_of_words, lda, preprocess, topic_shares


def corpus_model(
    articles: pd.DataFrame, params: Any, seed: int
) -> tuple[LdaModel, list, Dictionary]:
    """LDA over all abstracts with ``params.corpus_topics`` topics; what pyLDAvis draws.

    Returns (model, counts, dictionary) without the texts that hold no word of the dictionary.
    """
    tokens = preprocess(articles["title"] + "\n" + articles["abstract"])
    dictionary, counts = bag_of_words(tokens, most=0.5)
    counts = [text for text in counts if text]
    if not counts:
        return None, [], dictionary
    model = lda(counts, dictionary, params.corpus_topics, params.passes, seed)
    return model, counts, dictionary


def pyldavis_html(model: LdaModel | None, counts: list, dictionary: Dictionary) -> str:
    """A page of its own with the pyLDAvis view: scripts and styles inside, nothing to load.

    A plain sentence where there are fewer than two topics.
    """
    if model is None or model.num_topics < 2:
        return _page(
            "<p>The topic map needs at least two topics and one word that texts share.</p>"
        )
    seen = np.zeros(len(dictionary))
    for text in counts:
        for word, n in text:
            seen[word] += n
    prepared = pyLDAvis.prepare(
        topic_term_dists=model.get_topics(),
        doc_topic_dists=topic_shares(model, counts),
        doc_lengths=[sum(n for _, n in text) for text in counts],
        vocab=[dictionary[word] for word in range(len(dictionary))],
        term_frequency=seen,
        n_jobs=1,
        sort_topics=False,
    )
    data = json.dumps(prepared.to_dict(), cls=NumPyEncoder).replace("<", "\\u003c")
    folder = Path(pyLDAvis.__file__).parent / "js"
    d3, view, style = (
        (folder / name).read_text("utf-8").replace("</script", "<\\/script")
        for name in ("d3.v5.min.js", "ldavis.v3.0.0.js", "ldavis.v1.0.0.css")
    )
    return _page(
        f"<style>{style}</style>\n<div id='topics'></div>\n<script>{d3}</script>\n"
        f"<script>{view}</script>\n<script>new LDAvis('#topics', {data});</script>"
    )


def _page(body: str) -> str:
    return (
        "<!doctype html>\n<html lang='en'>\n<head><meta charset='utf-8'><title>Topics</title>"
        f"</head>\n<body>\n{body}\n</body>\n</html>\n"
    )
