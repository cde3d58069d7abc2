"""How many bits a text needs: the estimated entropy bound, what a file takes above it, and the bits of each token.

Definitions are in docs/ENTROPY.md. Knows nothing of terminals or of how the user names files.
"""
