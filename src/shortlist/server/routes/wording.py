"""A phrase for every field and parameter, which the OpenAPI document says beside its type.

A name means the same wherever it stands, unless it is listed with its struct.
"""

from __future__ import annotations

WORDING: dict[str, str] = {
    # Questions
    "user_id": "Any characters; a whole number is its decimal form. Who is not known is answered, too.",
    "item_id": "An item: any characters; a whole number is its decimal form.",
    "timestamp": "When: seconds since 1970, or ISO 8601 text (UTC where it names no zone); left out, a second"
    " after the last event of a history that is told or of events since, else the user's last stored time.",
    "context": "Further columns of the query, by name.",
    "history": "Item ids, the latest first, in place of what is stored and of events since; []: none.",
    "history_timestamp": "When each item of the history was had, in the same order.",
    "history_rating": "The rating of each item of the history, in the same order.",
    "k": "How many items at most.",
    "filter_seen": "Leave out what the user has had.",
    "exclude": "Ids of items never to return.",
    "only": "Ids of items to choose from.",
    "where": "A condition on the items' columns, such as: year >= 1995 and 'Comedy' in genres.",
    "item_columns": "Columns of items to answer with.",
    "queries": "Several questions in one request, for 25,600 items in all; then nothing stands beside them.",
    "candidates": "Items to be put in order.",
    "item": "Columns of the item, in place of what is stored.",
    "Score.rows": "Pairs of a user and an item.",
    "side": "A side of an experiment; left out: the user's own, or the first.",
    "Which.side": 'A side of an experiment; "": all of them.',
    "utility": "What the order is by, where it is not to be as the bundle says.",
    "rating_weight": "How much the predicted value counts beside the log probability of retrieval.",
    "head": "Which of the ranker's predictions counts.",
    "explain": "Say for each item what would become of it with one thing of the question taken away.",
    "shown": "Whether the user will see it; if not, it is no impression, and in no side's figures.",
    "q": "A text that the id or the name holds, whatever its case.",
    "after": "Where to go on: `next` of the page before.",
    "limit": "Rows of a page.",
    "ids": "Items by their ids, in this order, in place of a search.",
    "by": "The column to colour by.",
    "order": "What the rows are ordered by.",
    # Events
    "event_id": "Of this event alone, chosen by whoever sends it: sent again, it counts once.",
    "event": "Its type.",
    "rating": "A rating, on the scale of the bundle.",
    "weight": "How much it counts.",
    "EventGiven.context": "Further columns of the row, plain values.",
    "events": "What users did, in any order.",
    "accepted": "Events that are new, and on disk now.",
    "repeated": "Events that were known by their id.",
    "rejected": "Events that were not kept.",
    "index": "Which event of the batch, from 0.",
    "field": "The field that is to blame.",
    "why": "What was expected.",
    # Answers
    "bundle": "The version of the bundle that answered.",
    "variant": "The side of an experiment that answered.",
    "items": "Items, best first.",
    "unknown": "Candidates that are not in the catalogue.",
    "results": "An answer to each query, in their order.",
    "rows": "Rows, an object of columns each.",
    "next": "What to give as `after` for the next page; null: there is none.",
    "Person.total": "Items of the history in all.",
    "Page.unknown": "Ids that were asked for and are not there.",
    "total": "Rows there are without the search.",
    "matched": "Rows the condition is true of, where no text is searched.",
    "known": "Whether the bundle knows the user.",
    "user": "The user's stored columns.",
    "Person.history": "What the user did, the latest first.",
    "bundles": "The version in use of each side.",
    "Bundles.bundles": "Sides, their shares, versions, columns, and what was in use before.",
    "status": "How it is.",
    "explained": "What was taken away, and what stands without it.",
    # Problems
    "type": "A URI of the kind of problem; about:blank: the status says it.",
    "title": "The status in words.",
    "Problem.status": "The status of the answer.",
    "detail": "What is wrong.",
    "pointer": "The path of the field inside the request (RFC 6901).",
    "hint": "What to do about it.",
    "request_id": "What the log calls this request.",
}


def said_of(name: str, within: str = "") -> str:
    """The phrase for a field of a struct, or for a parameter; "" where there is none."""
    return WORDING.get(f"{within}.{name}") or WORDING.get(name, "")
