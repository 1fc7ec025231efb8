"""Making, replacing and retiring the key that callers sign with, while they call.

``record``, ``state``, ``fleet`` and ``plan`` decide: Secret, pods' reports and "now" go in, the next step comes out.
``api``, ``pods``, ``bootstrap`` and ``run`` carry it out.
"""
