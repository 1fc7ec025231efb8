"""The harness behind `make bench`: this proxy beside its peers, in one interleaved run."""
