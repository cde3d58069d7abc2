"""A second decoder, written from docs/FORMAT.md alone: plain Python and NumPy, nothing of nncomp's. Slow.

What nncomp writes must come back through it, byte for byte: so the page says enough for anyone to write a third.
`python -m checks.independent.decode FILE.nnc [--model M.safetensors] > out`
"""
