"""Makes the small model that ships with slmreg, so that its machinery can be seen at work without any download.

``python -m scripts.demo_model all`` generates the dialogues, trains the tokenizer and the network, and exports the
folder ``registry/demo_model``. Every step is seeded. The model knows what its dialogues say and nothing else.
"""
