"""Abstracts with planted facts: what a summary of them must hold."""

import pandas as pd

FACTS = {0: "glioma asthma lupus", 1: "PTEN TP53 KRAS", 2: "liver lung brain"}
VERBS = {0: "is associated with", 1: "targets", 2: "is expressed in"}


def tables(rna_ids=("hsa-mir-21",), n_topics=3):
    """RNAs with three abstracts in each of some groups; every RNA's articles are its own."""
    rows, links = [], []
    for number, rna_id in enumerate(rna_ids):
        name = rna_id.removeprefix("hsa-")
        for topic in range(n_topics):
            for i, word in enumerate(FACTS[topic].split()):
                article_id = f"A{number}{topic}{i}"
                text = f"We studied {name}. Cells were grown. Thus {name} {VERBS[topic]} {word}."
                rows.append((article_id, "A paper", text, 2000 + 10 * i + topic))
                links.append((rna_id, article_id, topic, 1.0))
    articles = pd.DataFrame(rows, columns=["article_id", "title", "abstract", "year"])
    topics = pd.DataFrame(links, columns=["rna_id", "article_id", "topic", "weight"])
    return pd.DataFrame({"rna_id": rna_ids}), articles, topics[["rna_id", "article_id"]], topics
