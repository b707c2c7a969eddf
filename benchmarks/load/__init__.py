"""Servers under load on this machine: ours and its peers, one at a time."""
