// From what the page shows to what the server is asked: a person's history as it was changed here, and the body of a
// request for a shortlist. Pure functions.

/** Whether the stored history was changed on the page. */
export function isChanged(state) {
  return state.with.length > 0 || state.without.length > 0;
}

/**
 * The history as it is now, the latest first: rows {item_id, timestamp?, rating?, ..., added}, what was put in first.
 * person: {id, history}; a new user's stored history is empty.
 */
export function historyOf(person, state, bundle) {
  const gone = new Set([...state.without, ...state.with]);
  const kept = person.history.filter((row) => !gone.has(row.item_id));
  return [...addedTo(person, state, bundle), ...kept];
}

/** What was put into the history. They are given the time of the latest stored event, or that of the query. */
export function addedTo(person, state, bundle) {
  const scale = scaleOfHistory(bundle);
  const at = state.at ? secondsOf(state.at) - 1 : person.history[0]?.timestamp;
  return state.with.map((id, n) => ({
    item_id: id,
    added: true,
    ...(at !== undefined && { timestamp: at }),
    ...(scale && { rating: within(Number(state.rated[n] ?? "") || scale[1], scale) }),
  }));
}

/** The least and the greatest rating that a told history may hold; null where ratings of it are not read. */
export function scaleOfHistory(bundle) {
  return (bundle.reads_history && bundle.rating_scale) || null;
}

/** The weight of the rating that was chosen; null where none was, or nothing that is a number. */
export function weightOf(state) {
  const weight = Number(state.weight);
  return state.weight.trim() === "" || !Number.isFinite(weight) ? null : weight;
}

/** What is told of the person, column -> text: `about` holds texts such as "age=30", names encoded. */
export function aboutOf(state) {
  const found = new Map();
  for (const text of state.about ?? []) {
    const [name, value = ""] = text.split(/=(.*)/s);
    try {
      found.set(decodeURIComponent(name), value);
    } catch {
      // An address that was cut or mistyped: the name of no column.
    }
  }
  return found;
}

/** The body of POST /v1/recommend. */
export function bodyOf(person, state, bundle) {
  const body = {
    k: Number(state.k),
    filter_seen: state.seen !== "1",
    shown: false, // to whom it is for: looking must not count in a running experiment
    item_columns: bundle.item_columns.slice(0, 12),
  };
  if (person.id) body.user_id = person.id;
  if (state.side) body.side = state.side;
  if (state.where.trim()) body.where = state.where;
  if (state.exclude.length) body.exclude = [...state.exclude];
  if (state.at) body.timestamp = state.at;
  const weight = weightOf(state);
  if (weight !== null) body.utility = { rating_weight: weight };
  const context = contextOf(state, bundle);
  if (Object.keys(context).length) body.context = context;
  if (isChanged(state)) tellHistory(body, person, state, bundle);
  return body;
}

/** Columns of the query that were set on the page, as the bundle takes them. */
export function contextOf(state, bundle) {
  const kinds = new Map((bundle.context ?? []).map((one) => [one.name, one]));
  const found = {};
  for (const [name, value] of aboutOf(state)) {
    const column = kinds.get(name);
    if (column && value !== "") found[name] = valueOf(column, value);
  }
  return found;
}

/** Seconds since 1970 of "1998-04-20T13:00", UTC. */
export function secondsOf(text) {
  return Math.floor(Date.parse(`${text}Z`) / 1000);
}

function tellHistory(body, person, state, bundle) {
  let rows = historyOf(person, state, bundle);
  if (!bundle.reads_history) {
    // The model reads no history: all that a change can do is to decide what is left out.
    if (body.filter_seen) body.exclude = [...new Set([...(body.exclude ?? []), ...rows.map((row) => row.item_id)])];
    body.filter_seen = false;
    return;
  }
  if (state.at) {
    const now = secondsOf(state.at);
    rows = rows.filter((row) => row.timestamp === undefined || row.timestamp < now);
  }
  rows = rows.slice(0, bundle.limits?.history ?? 2000);
  body.history = rows.map((row) => row.item_id); // [] is told too: somebody who did nothing
  if (rows.length === 0) return;
  // Times before 1970, which a bundle may hold, are refused over HTTP: then the order alone is told.
  const timed = rows.every((row) => row.timestamp >= 0);
  if (timed) body.history_timestamp = rows.map((row) => row.timestamp);
  // Without it the query would move to the time of the told history's end, and every score a little with it.
  const stored = person.user.timestamp;
  const takesTime = (bundle.request ?? []).some((one) => one.name === "timestamp" && one.side === "query");
  if (!state.at && takesTime && stored >= 0 && rows.every((row) => row.timestamp < stored)) body.timestamp = stored;
  // null: an event without a rating
  if (rows.some((row) => row.rating !== undefined)) body.history_rating = rows.map((row) => row.rating ?? null);
}

function within(rating, [least, most]) {
  return Math.min(Math.max(rating, least), most);
}

function valueOf(column, text) {
  if (column.kind === "tags") return text.split(",").map((one) => one.trim()).filter(Boolean);
  const numeric = column.type === "int" || column.type === "float" || column.kind === "number";
  return numeric && !Number.isNaN(Number(text)) ? Number(text) : text;
}
