"""Kinds of input, output and fault, tried one by one: what tests/test_kinds_*.py share.

Every case runs the real command in a process of its own. A process that has nncomp loaded (`server.py`) forks for each: that
takes some 20 ms, where a new interpreter takes a second.
"""
