"""What a recommender says of test rows: ranks of its retrieval, of its two stages, predicted ratings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from shortlist._typing import Array, Bools, Doubles, Floats, Ints, Longs
from shortlist.api.cases import Asked, Case
from shortlist.evaluation import metrics
from shortlist.evaluation.rows import Predictions, TestRows
from shortlist.features.log import Standing
from shortlist.index.exact import block_rows, search
from shortlist.index.ranks import Ranks, product_ranks
from shortlist.pipeline.questions import request_times
from shortlist.pipeline.recommender import Recommender
from shortlist.pipeline.stages import (
    Candidates,
    Utility,
    choose,
    no_aggregates,
    order,
    rank,
    retrieve,
)
from shortlist.state.seen import Seen

Counter = Callable[[Floats, Floats, Ints, Seen, Ints], Ranks]
"""Ranks of targets among items by inner product: query vectors, item vectors, targets, seen, users."""


def numpy_counter(queries: Floats, items: Floats, targets: Ints, seen: Seen, users: Ints) -> Ranks:
    """Ranks of inner products, counted by NumPy."""
    return product_ranks(queries, items, targets, seen, users)


def compiled_counter(queries: Floats, items: Floats, targets: Ints, seen: Seen, users: Ints) -> Ranks:
    """The same by a compiled program."""
    from shortlist.training.ranks import count_ranks as count

    return Ranks(*count(queries, items, targets, seen, users))


def entrant(
    recommender: Recommender, case: Case, counter: Counter, name: str, *, users: bool = True
) -> Predictions:
    """What the recommender says of every test row."""
    rows, seen = case.rows, recommender.users.seen
    ranks = user_ranks = top = ratings = None
    if recommender.retriever is not None:
        _, vectors = recommender.retriever.encode_query(case.queries)
        assert vectors is not None and recommender.item_vectors is not None
        items, first = recommender.item_vectors, case.first
        asked = vectors[first][rows.user_keys]
        user, targets = rows.users.astype(np.int32), rows.targets.astype(np.int32)
        popular = _popularity_ranks(recommender.items.log_popularity)

        def count(queries: Floats, at: Standing | None) -> Ranks:
            found = counter(queries, items, targets, seen, user)
            if recommender.seen_bonus and at is not None:
                found = Ranks(
                    with_bonus(recommender, at, queries, targets, found.raw, recommender.seen_bonus),
                    found.filtered,
                )
            unknown = _popular(recommender, user)
            raw, filtered = (np.where(unknown, popular[targets], r) for r in (found.raw, found.filtered))
            return Ranks(raw, filtered)

        ranks = count(vectors, case.at)
        if users:  # without context every row asks what the user's first asks
            once = None if case.at is None else case.at.rows(first[rows.user_keys])
            alike = np.array_equal(asked, vectors) and (once is None or not recommender.seen_bonus)
            user_ranks = ranks if alike else count(asked, once)
        top = search(vectors[first], items, 10)[0]
    if recommender.ranker is not None and rows.ratings is not None:
        represented, _ = recommender.ranker.encode_query(case.queries)
        numbers = no_aggregates if case.at is None else recommender.aggregator(case.at)
        given = numbers(np.arange(len(rows)), rows.targets)
        candidates = recommender.represented(rows.targets, case.at)
        outputs = recommender.ranker.predict(represented, candidates, given)
        if "rating" in outputs:
            ratings = outputs["rating"].astype(np.float64)
    seconds = recommender.provenance.get("seconds", {}).get("fit_cpu")
    return Predictions(name, "model", ranks, user_ranks, ratings, top, seconds=seconds)


BONUS_ROWS = 2048
"""Rows whose past is looked at together."""


def with_bonus(
    recommender: Recommender, at: Standing, queries: Floats, targets: Ints, raw: Doubles, bonus: float
) -> Doubles:
    """Ranks among raw scores, once those of what a row's user had before its time have got a bonus."""
    assert recommender.item_vectors is not None and recommender.events is not None
    items, out = recommender.item_vectors, raw.copy()
    firsts = recommender.events.firsts
    for start in range(0, len(raw), BONUS_ROWS):
        rows = np.arange(start, min(start + BONUS_ROWS, len(raw)))
        begin, end = firsts.ranges(at.rows(rows), recommender.seen_as_of)
        counts = end - begin
        row = np.repeat(np.arange(len(rows)), counts)
        place = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts) + begin[row]
        if recommender.seen_as_of == "leave-one-out":  # a row of the log does not see itself
            others = place != recommender.events.first_places(at.places[rows])[row]
            row, place = row[others], place[others]
        item = firsts.items[place]
        scores = np.einsum("nd,nd->n", queries[rows][row], items[item])
        own = np.einsum("nd,nd->n", queries[rows], items[targets[rows]])
        had = np.zeros(len(rows), bool)
        had[row[item == targets[rows][row]]] = True
        raised = own + np.where(had, np.float32(bonus), np.float32(0))
        if had.any():  # its own score moves against everybody else's
            whole = queries[rows[had]] @ items.T
            above, level = whole > raised[had, None], whole == raised[had, None]
            above[np.arange(len(whole)), targets[rows[had]]] = False
            level[np.arange(len(whole)), targets[rows[had]]] = False
            out[rows[had]] = 1.0 + above.sum(1) + (level.sum(1)) / 2
        base = np.where(had, raised, own)
        other = item != targets[rows][row]
        before = _ahead(scores, base[row]) * other
        after = _ahead(scores + np.float32(bonus), base[row]) * other
        out[rows] += np.bincount(row, after - before, minlength=len(rows))
    return out


def _ahead(scores: Floats, own: Floats) -> Doubles:
    """1 where a score is greater than the row's own, half where it is equal."""
    ahead: Doubles = (scores > own) + (scores == own) / 2
    return ahead


def _popularity_ranks(log_popularity: Array) -> Doubles:
    """The rank of every item when all are scored by popularity; ties at their mean rank."""
    ordered = np.sort(log_popularity)
    below = np.searchsorted(ordered, log_popularity, side="left")
    not_above = np.searchsorted(ordered, log_popularity, side="right")
    return 1.0 + (len(ordered) - not_above) + (not_above - below - 1) / 2


def stage_name(weight: float) -> str:
    """What figures of two stages at that weight are called."""
    return f"two stages, rating weight {weight:g}"


def stage_figures(recommender: Recommender, case: Case, k: int, weights: Sequence[float]) -> dict[str, Any]:
    """Retrieval alone beside two stages, one list a user, seen items left out; and the recall ceiling:
    the share of test rows whose item the retrieved candidates hold at all. Rows that repeat a pair of
    training are left out. "no context given": the list of someone who asks with a user_id and no more."""
    if recommender.retriever is None or recommender.ranker is None:
        return {}
    ranked = _candidates(recommender, case, case.first_queries, filter_seen=True)
    figures: dict[str, Any] = {"retrieval only": _list_figures(ranked, case, k)}
    for weight in weights:
        ordered = _ordered(recommender, case, ranked, Utility(weight, recommender.utility.head))
        figures[stage_name(weight)] = _list_figures(ordered, case, k)
    if len(weights) == 1 and set(recommender.schema.query) - {"user_id"}:
        bare = _candidates(recommender, case, case.bare_queries, filter_seen=True)
        ordered = _ordered(recommender, case, bare, Utility(weights[0], recommender.utility.head))
        figures[f"{stage_name(weights[0])}, no context given"] = _list_figures(ordered, case, k)
    found = np.isfinite(_list_ranks(ranked.positions, case.rows))[~case.repeated]
    ceiling = float(found.mean()) if len(found) else float("nan")
    return figures | {f"recall ceiling@{ranked.positions.shape[1]}": ceiling}


def two_stage_entrant(recommender: Recommender, case: Case, retrieval: Predictions) -> Predictions | None:
    """The order `recommend` returns, as an entrant of its own: user ranks, where two stages make one list a
    user; None where the order is retrieval's. Items that were not retrieved keep retrieval's rank, as do all
    of users who are answered by popularity."""
    beyond = retrieval.user_ranks
    if beyond is None or recommender.ranker is None or recommender.utility.rating_weight == 0:
        return None
    both = []
    for filter_seen, ranks in ((False, beyond.raw), (True, beyond.filtered)):
        ranked = _candidates(recommender, case, case.first_queries, filter_seen=filter_seen)
        listed = _list_ranks(_ordered(recommender, case, ranked, recommender.utility).positions, case.rows)
        both.append(np.where(np.isfinite(listed) & ~_popular(recommender, case.rows.users), listed, ranks))
    settings = f"rating_weight={recommender.utility.rating_weight:g}, retrieved={recommender.num_retrieved}"
    return Predictions(f"{retrieval.name}, two stages", "model", None, Ranks(*both), settings=settings)


def _popular(recommender: Recommender, users: Array) -> Bools:
    """Users who are answered by popularity."""
    return np.asarray((users < 0) & ("user_id" in recommender.schema.query))


def _candidates(recommender: Recommender, case: Case, queries: Asked, *, filter_seen: bool) -> Candidates:
    """What `recommend` retrieves for each user [U', num], with the ranker's predictions; a block of users at
    a time, so that no mask over users and items is held whole."""
    users, num = case.first_users, min(recommender.num_retrieved, case.rows.num_items)
    size = block_rows(case.rows.num_items)
    times = _times(recommender, queries, users)
    blocks = []
    for start in range(0, len(users), size):
        rows = slice(start, start + size)
        asked = {name: column[rows] for name, column in queries.items()}
        at = Standing.of(users[rows], times[rows])
        blocks.append(_block(recommender, asked, users[rows], at, num, filter_seen))
    return Candidates(
        np.concatenate([block.positions for block in blocks]),
        np.concatenate([block.log_p for block in blocks]),
        np.concatenate([block.popular for block in blocks]),
        {head: np.concatenate([b.predictions[head] for b in blocks]) for head in blocks[0].predictions},
    )


def _times(recommender: Recommender, queries: Asked, users: Array) -> Longs:
    """The time of each query: what it names, else what a request of its user would have."""
    given = {"timestamp": np.asarray(queries["timestamp"])} if "timestamp" in queries else {}
    return request_times(recommender.users, given, users)


def _block(
    recommender: Recommender, queries: Asked, users: Array, at: Standing, num: int, filter_seen: bool
) -> Candidates:
    assert recommender.retriever is not None and recommender.ranker is not None
    assert recommender.item_vectors is not None and recommender.item_representations is not None
    assert recommender.searcher is not None
    taken = recommender.taken(users, None) if filter_seen else None
    represented, vectors = recommender.retriever.encode_query(queries)
    assert vectors is not None
    found = retrieve(recommender.searcher, vectors, num, exclude=taken, bonus=recommender.bonus(at))
    popular = recommender.popular.candidates(len(users), num, exclude=taken)
    found = choose(~_popular(recommender, users), found, popular)
    if recommender.ranker is not recommender.retriever:
        represented, _ = recommender.ranker.encode_query(queries)
    numbers, as_of = recommender.aggregator(at), recommender.representer(at)
    return rank(recommender.ranker, represented, recommender.item_representations, found, numbers, as_of)


def _ordered(recommender: Recommender, case: Case, ranked: Candidates, utility: Utility) -> Candidates:
    popular = _popular(recommender, case.first_users)[:, None]
    scores = np.where(popular, ranked.log_p, utility(ranked.log_p, ranked.predictions))
    return order(ranked, scores, ranked.positions.shape[1])


def _list_figures(found: Candidates, case: Case, k: int) -> dict[str, float]:
    ranks, fresh = _list_ranks(found.positions, case.rows), ~case.repeated
    return {
        f"ndcg@{k} (user)": mean_ndcg(ranks, case.rows, fresh, k),
        f"ndcg@{k} (user, liked)": mean_ndcg(ranks, case.rows, fresh & case.liked, k),
    }


def _list_ranks(lists: Ints, rows: TestRows) -> Doubles:
    """Where each test row's item stands in its user's list [U', num]; infinite where it does not."""
    hits = lists[rows.user_keys] == rows.targets[:, None]
    return np.where(hits.any(axis=1), 1.0 + hits.argmax(axis=1), np.inf)


def mean_ndcg(ranks: Doubles, rows: TestRows, counted: Array, k: int) -> float:
    """NDCG@k averaged over users, of those of their rows that are counted (bool [n])."""
    unique = metrics.first_rows(rows.user_keys, rows.targets)
    kept = unique[counted[unique]]
    if not len(kept):
        return float("nan")
    return float(np.nanmean(metrics.user_ndcg(ranks[kept], rows.user_keys[kept], rows.num_users, k)))
