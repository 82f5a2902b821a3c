"""UCAN 1.0: signed tokens and who may do what."""
