"""The topics of a whole corpus, as one page to explore with pyLDAvis."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyLDAvis
from gensim.corpora import Dictionary
from gensim.models import LdaModel
from jinja2 import Template
from pyLDAvis.utils import NumPyEncoder

from rnagpt_lib.core.params import Topics
from rnagpt_lib.curate.topics.topics import bag_of_words, lda, preprocess, topic_shares

FILES = {"d3": "d3.v5.min.js", "view": "ldavis.v3.0.0.js", "style": "ldavis.v1.0.0.css"}


def corpus_model(
    articles: pd.DataFrame, params: Topics, seed: int
) -> tuple[LdaModel | None, list, Dictionary]:
    """LDA over all abstracts with ``params.corpus_topics`` topics; what pyLDAvis draws.

    Returns (model, counts, dictionary) without the texts that hold no word of the dictionary.
    """
    tokens = preprocess(articles["title"] + "\n" + articles["abstract"])
    dictionary, counts = bag_of_words(tokens, most=0.5)
    counts = [text for text in counts if text]
    topics = params.corpus_topics, params.passes
    return lda(counts, dictionary, *topics, seed) if counts else None, counts, dictionary


def pyldavis_html(model: LdaModel | None, counts: list, dictionary: Dictionary) -> str:
    """A page of its own with the pyLDAvis view: scripts and styles inside, nothing to load.

    A plain sentence where there are fewer than two topics.
    """
    page = Template(
        Path(__file__).with_suffix(".html.j2").read_text("utf-8"), keep_trailing_newline=True
    )
    if model is None or model.num_topics < 2:
        return page.render(data=None)
    frequency = np.zeros(len(dictionary))
    for word, n in (count for text in counts for count in text):
        frequency[word] += n
    prepared = pyLDAvis.prepare(
        topic_term_dists=model.get_topics(),
        doc_topic_dists=topic_shares(model, counts),
        doc_lengths=[sum(n for _, n in text) for text in counts],
        vocab=[dictionary[word] for word in range(len(dictionary))],
        term_frequency=frequency,
        mds=lambda topics: np.real(pyLDAvis.js_PCoA(topics)),  # complex where topics are alike
        n_jobs=1,
        sort_topics=False,
    )
    folder = Path(pyLDAvis.__file__).parent / "js"
    files = {name: (folder / file).read_text("utf-8") for name, file in FILES.items()}
    escaped = {name: text.replace("</script", "<\\/script") for name, text in files.items()}
    data = json.dumps(prepared.to_dict(), cls=NumPyEncoder).replace("<", "\\u003c")
    return page.render(data=data, **escaped)
