"""Parts of the chat box: its options, its page of what was said, its buttons."""

import ipywidgets as w

from rnagpt_lib.chat.decoding_batch import Sampling

RETRIEVAL = {"beside": "beside the answer", "only": "alone, no model", "off": "off"}
WIDE = {"description_width": "initial"}


def button(label: str, tooltip: str, style: str = "") -> w.Button:
    """A button as wide as its label."""
    layout = w.Layout(width="auto")
    return w.Button(description=label, tooltip=tooltip, button_style=style, layout=layout)


class Options(w.Accordion):
    """How tokens are chosen, and what is retrieved; folded away at first."""

    def __init__(self, retrieval: str) -> None:
        narrow = w.Layout(width="11rem")
        self.temperature = w.BoundedFloatText(
            value=0, min=0, max=5, step=0.1, description="Temperature", style=WIDE, layout=narrow
        )
        self.top_p = w.BoundedFloatText(
            value=1, min=0.01, max=1, step=0.05, description="Top-p", style=WIDE, layout=narrow
        )
        self.seed = w.BoundedIntText(
            value=0, min=0, max=2**31 - 1, description="Seed", style=WIDE, layout=narrow
        )
        known = [(label, name) for name, label in RETRIEVAL.items()]
        self.retrieval = w.Dropdown(
            options=known, value=retrieval, description="Evidence", style=WIDE
        )
        self.fields = [self.temperature, self.top_p, self.seed, self.retrieval]
        row = w.HBox(self.fields, layout=w.Layout(flex_flow="row wrap"))
        super().__init__([row], titles=["Options"], selected_index=None)

    @property
    def sampling(self) -> Sampling:
        """Temperature 0 is greedy, whatever the others say."""
        return Sampling(self.temperature.value, self.top_p.value, self.seed.value)


class Said(w.Box):
    """What was said, line by line, in a box that stays scrolled to what was said last."""

    def __init__(self) -> None:
        self.lines = w.VBox(layout=w.Layout(flex="0 0 auto", width="100%"))
        # turned round, a box is scrolled to its end
        turned = w.Layout(flex_flow="column-reverse", overflow="auto", max_height="28rem")
        super().__init__([self.lines], layout=turned)
        self.add_class("rnagpt-log")

    def add(self, html: str) -> w.HTML:
        """A new line at the end; ``html`` is escaped already, as is what the line is set to."""
        line = w.HTML(html)
        self.lines.children += (line,)
        return line

    def remove(self, line: w.HTML) -> None:
        self.lines.children = tuple(one for one in self.lines.children if one is not line)

    def clear(self) -> None:
        self.lines.children = ()
