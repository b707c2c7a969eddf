"""Rows, still in the user's own words: tables, data sets, splits, vocabularies."""
