"""How all figures look. Colours are Okabe and Ito's, told apart by colour-blind readers, and marks
tell the models apart without colour."""

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

COLOURS = {
    "vanilla": "#999999",
    "MA": "#56B4E9",
    "IT": "#0072B2",
    "floor.most_common": "#D55E00",
    "floor.random": "#E69F00",
    "floor.nearest": "#009E73",
    "floor.length": "#A6761D",
    "control.shuffled": "#CC79A7",
    "control.swapped": "#882255",
    "control.none": "#000000",
    "it.no_ma": "#56B4E9",
    "it.random_encoder": "#A6761D",
    "it.text": "#CC79A7",
    "it.blind": "#999999",
}
MARKS = {  # floors are hollow
    "vanilla": "o",
    "MA": "s",
    "IT": "D",
    "floor.most_common": "^",
    "floor.random": "v",
    "floor.nearest": "o",
    "floor.length": "s",
}
FACTS = ("fact.rna_type", "fact.family", "fact.literature", "fact.local")  # a panel for each
STYLE = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
         "svg.hashsalt": "rnagpt", "figure.dpi": 100, "savefig.dpi": 150,
         "legend.frameon": False,
         "text.parse_math": False}  # a name from outside may hold a dollar sign  # fmt: skip


def closed(figure: Figure) -> Figure:
    """Out of pyplot's hands, so that a notebook shows it once and memory is freed."""
    plt.close(figure)
    return figure
