"""SAEs for the real language model: text, activations, training, evaluation, cards.

    python -m tools.local                 all steps in order; what is done is skipped
    python -m tools.local status          what is there, what is missing
    python -m tools.local write           let the model write text to train on (two hours)
    python -m tools.local text            tokenise what people wrote (a minute)
    python -m tools.local names           find the attention layer that moves names (a minute)
    python -m tools.local harvest         activations of 4.3 M tokens (an hour and a half)
    python -m tools.local train [name …]  train, measure, write the card (minutes each)
    python -m tools.local train --partial on what is harvested so far, which the card says
    python -m tools.local measure         measure what is trained again, write the cards
    python -m tools.local.transcoders     skip transcoders of all layers, which need no activations
                                          on disk (hours)

Every step can be stopped at any time and started again: activations are written shard by shard,
segment by segment (half a million tokens each), to `local/` in the course's cache folder (20 GB;
`python -m tools.local clean` removes them), and training has checkpoints. NLTK_DATA names the
folder of NLTK's corpora. The order of a first run does not matter, except that text which the
model wrote is trained on only if it was there when `train` began.
"""  # fmt: skip
