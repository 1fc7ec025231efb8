"""The embedded stand-in for a cluster: an apiserver's exec and attach over real local processes."""
