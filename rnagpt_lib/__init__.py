"""RNA-GPT, the open implementation: the thin library behind the numbered notebooks.

Packages in the pipeline's order; a package imports only from those above it:

core       errors, files, tables, FASTA, bootstrap, the paper's numbers; params.py: all that can be set
runs       stages, run folders, headless notebooks, going on after a kill
miniature  the generated world: RNAs with rules, and literature about them
llm_api    paid calls to a language model: journalled, capped, replayed
curate     00 to 03: sources, filter, topics, summaries, questions, splits
model      RNA-GPT: encoder, projection, language model, template, packing, checkpoints
train      04 and 05: examples, visit order, loop, several GPUs, ablation trainings
chat       07: decoding, sessions, retrieval, answers to files, terminal, notebook box
evaluate   06: questions, baselines, scores, leakage, audit
report     tables, sentences, figures, pages
share      data set and model as Hugging Face folders
cli        the command rnagpt

Nothing above ``model`` imports torch, and ``miniature`` and ``llm_api`` know nothing of each other.
"""

__version__ = "0.1.0"
