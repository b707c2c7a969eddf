"""What the server answers to, a module a subject; `table` lists all of it.

answering   shortlists, scores, the order of a caller's own candidates
browsing    items and users to be searched; items like an item
events      what users did
operating   whether it lives, whether it is ready, its counts; exchanging bundles
describing  the OpenAPI document, and a page made of it
"""
