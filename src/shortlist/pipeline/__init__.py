"""From a question to a shortlist: retrieve, filter, rank, order."""
