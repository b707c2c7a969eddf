"""Shortlist: two-stage deep recommenders, from a table of what people did to a ranked shortlist."""
