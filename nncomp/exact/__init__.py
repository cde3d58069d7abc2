"""The integer network: what codes. Integers in, integers out, the same on any machine."""
