"""What the server answers, as structs: routes make them, the OpenAPI document is made of them.

columns     rows that have columns of a bundle's or a request's own beside their fields
shortlists  shortlists, why they are so, scores
catalogue   items and users, items like an item, a map
bundles     what a bundle is, and which of them answer
judging     how a bundle was judged
outcomes    what became of events, of exchanges, and of what was refused
"""
