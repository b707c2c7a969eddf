"""What people do while a server runs: kept on disk, counted at once, exported for training.

event       one event, one impression, and what is wrong with one
reading     events in a caller's own words, checked field by field
store       what a store of events promises; `opening` makes one of a path or an address
sqlite      the embedded store, with its `schema`; `postgres` the same on PostgreSQL, `rows` of both
writer      many appenders of an asyncio server, one transaction, one fsync
recent      what users did since; `overlay`: that and the bundle's own past as one history
exporting   a store as a table for training
"""
