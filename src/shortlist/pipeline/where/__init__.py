"""Predicates on the columns of items, such as "year >= 1990 and 'Comedy' in genres": read here, never run."""
