"""Measurements of this program beside its peers: the source of the README's performance table."""
