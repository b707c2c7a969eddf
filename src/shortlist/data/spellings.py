"""What columns are called: how far a name speaks for a role, from 0 to 100, whatever its case and marks."""

from __future__ import annotations

import re

ROLES = ("user", "item", "timestamp", "event", "rating", "weight")
"""In the order in which they are given."""


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_STEMS = {
    "user": (
        "user",
        """customer client member visitor account buyer shopper viewer listener reader subscriber reviewer
        person consumer player guest patient student learner employee borrower uid cust msno rater""",
        "session device cookie household profile author playlist",
    ),
    "item": (
        "item",
        """product movie film song track book sku article asin isbn video show series anime manga game app
        content post offer listing recipe course job ad news story restaurant business hotel place venue
        location poi stock goods episode podcast channel document doc paper beer wine photo image iid mid
        pid""",
        "artist album brand parent_asin category genre title name",
    ),
}
_POINTS = (100, 90, 50)
_SUFFIXES = _set("id ids idx index key no nr num number code hash uuid guid uri")
_NOISE = _set("raw orig original hashed anon anonymized encoded internal external the")
_NAMES = {
    "timestamp": (
        "timestamp ts event_time event_timestamp",
        "time datetime date_time when unix_time unixtime epoch unix_review_time t unix_timestamp",
        """date day dt t_dat event_date interaction_time created_at created creation_date review_date
        review_time rated_at purchase_date purchased_at order_date ordered_at invoice_date watched_at
        played_at listened_at visit_time visited_at click_time clicked_at start_time added_at date_added
        occurred_at""",
    ),
    "rating": (
        "rating ratings",
        "stars overall score rating_value review_score",
        "vote votes grade rate preference value feedback target label",
    ),
    "event": (
        "event event_type event_name event_kind kind_of_event type_of_event",
        """action action_type behavior behaviour behavior_type behaviour_type interaction interaction_type
        activity activity_type verb operation feedback_type""",
        "type kind",
    ),
    "weight": ("weight", "weights sample_weight confidence", "importance"),
}
_TIME_ENDS = _set("at on time date ts timestamp datetime")
_OTHER_TIMES = _set(
    """updated modified last expires expiry birth birthday release released end due ship shipped delivery
    delivered signup registration registered joined published publication deleted"""
)
_SUMMARIES = _set("avg average mean count counts num n total sum predicted imdb max min median")
_ROW_IDS = _set("id row row_id index review_id order_id event_id transaction_id invoice_no")

WEIGHTS = {
    1.0: """view views viewed pv click clicked clicks impression detail detailpageview page_view open read
        play played listen watch watched visit search start""",
    2.0: """like liked likes fav favorite favourite wishlist add_to_wishlist save saved bookmark follow star
        upvote share shared comment complete completed finish download install review rate rating""",
    3.0: "cart add_to_cart addtocart add_cart basket add_to_basket checkout begin_checkout",
    5.0: """purchase purchased buy bought order ordered transaction sale subscribe book booking apply convert
        conversion payment""",
    0.0: """remove_from_cart remove removed dislike disliked downvote skip skipped return returned refund
        unlike hide unfollow cancel cancelled report block unsubscribe""",
}
"""What types of events are proposed to count: looking 1, liking 2, into the cart 3, buying 5, refusing 0."""


def words(name: str) -> list[str]:
    """The words of a name in lower case: userId, user-id, USER_ID and "User Id" are ["user", "id"]."""
    parted = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name)
    parted = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1 \2", parted)
    return [word for word in re.split(r"[^a-z0-9]+", parted.lower()) if word]


def points(name: str, role: str) -> int:
    """How far a column's name speaks for a role: 100 is its own name, 0 says nothing or the contrary."""
    if role in _STEMS:
        return _of_id(words(name), role)
    said = words(name)
    whole, glued = "_".join(said), "".join(said)
    if role == "rating" and set(said) & _SUMMARIES:
        return 0
    for level, names in zip(_POINTS, _NAMES[role], strict=True):
        if any(whole == known or glued == known.replace("_", "") for known in names.split()):
            return level
    if role == "rating" and said and said[-1] in ("rating", "ratings", "stars"):
        return 80
    if role == "timestamp" and said and said[-1] in _TIME_ENDS:
        return 10 if set(said) & _OTHER_TIMES else 40
    return 0


def event_weight(kind: str) -> float | None:
    """What a type of events is proposed to count; None where its name is not known."""
    said = words(kind)
    whole, glued = "_".join(said), "".join(said)
    for weight, known in WEIGHTS.items():
        if any(whole == word or glued == word.replace("_", "") for word in known.split()):
            return weight
    return None


def is_id(name: str) -> bool:
    """Whether a column is called like what tells things apart, whatever these are."""
    return len(said := words(name)) > 1 and said[-1] in _SUFFIXES


def is_row_id(name: str) -> bool:
    """Whether a column is called like what numbers the rows, not what users or items are told apart by."""
    return "_".join(words(name)) in _ROW_IDS


def _of_id(said: list[str], role: str) -> int:
    """Whether nothing but a word for the role and marks of ids is said; ids go before bare words, those
    before names (which two may share)."""
    said = [word for word in said if word not in _NOISE]
    if len(said) == 1 and said[0].endswith("id") and said[0] not in ("uid", "iid", "mid", "pid"):
        said = [said[0][:-2], "id"]
    rest = [word for word in said if word not in _SUFFIXES] or said[:1]
    named = len(rest) > 1 and rest[-1] in ("name", "title")
    stem = "_".join(rest[:-1] if named else rest)
    for level, stems in zip(_POINTS, _STEMS[role], strict=True):
        if stem in stems.split():
            bare = len(said) == len(rest)
            return level - (40 if named else 2 if bare else 0)
    return 0
