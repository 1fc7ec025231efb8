"""The audit trail: what is told, as lines that are chained to each other, and whether a chain is whole."""
