"""What the server answers to, a module a subject; `table` lists all of it.

answering   shortlists, scores, the order of a caller's own candidates
browsing    items and users to be searched; items like an item
exploring   what a bundle is, how it was judged, a map of its items
events      what users did
operating   whether it lives, whether it is ready, its counts; exchanging bundles
describing  the OpenAPI document (in the words of `wording`), and `page`, made of it
naming      what requests name of a bundle, for the others
ui          the explorer's files
"""
