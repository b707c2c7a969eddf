"""Answering over HTTP from bundles, and keeping what people do with the answers."""
