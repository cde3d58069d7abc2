"""Mixing: predictors that learn while a block is coded, and the mixer that weighs them. Integers only.

Contexts (`byte_contexts`, `token_contexts`) pick bit histories (`bit_histories`) and records (`token_histories`), a match
model follows repeats (`match_model`), the mixer and the APMs make one probability of all (`mixer`). `byte_predictor` puts
them together for bytes, `token_predictor` for tokens. A module named `..._reference` is the slow definition of the module
beside it. Knows nothing of the network's inside or of files.
"""
