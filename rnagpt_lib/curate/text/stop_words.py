"""Words that tell nothing about what a text is about."""

from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

# Words of any abstract, whatever it is about.
_BOILERPLATE = frozenset(
    "abstract aim aimed analysed analyses analysis analyzed approach assay assays assessed "
    "background based collectively compared conclusion conclusions confirmed data demonstrate "
    "demonstrated design detected determine determined different evaluate evaluated evidence "
    "examined experiments finding findings furthermore group groups identified identify important "
    "including indicate indicated indicates introduction investigate investigated method methods "
    "moreover new novel objective observed obtained paper performed play plays possible "
    "potential present previous previously provide provides purpose recent recently report "
    "reported respectively result results reveal revealed reveals review role roles sample samples "
    "show showed shown shows significant significantly similar studied studies study suggest "
    "suggested suggesting suggests total used using various vs work "
    "rna rnas microrna micrornas mirna mirnas mir mirs mrna ncrna ncrnas".split()
)
STOP_WORDS = ENGLISH_STOP_WORDS | _BOILERPLATE
