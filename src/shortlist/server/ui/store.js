// What the page shows, kept in the URL's hash so that every view can be linked: `#/route?user=42&k=20`.
// Values are texts, or lists of texts; what equals its default is left out of the URL.

/** What all views share. A panel adds keys of its own with `declare`. */
const SHARED = {
  user: "", // an id; "" with films in `with`: somebody new
  side: "", // a bundle; "": the one that the server gives the user
  k: "10",
  where: "",
  exclude: [],
  seen: "", // "1": also what the user had
  at: "", // date and time of the query, ISO 8601 without a zone, UTC
  weight: "", // of the predicted rating in the order; "": the bundle's own
  without: [], // taken out of the history
  with: [], // put into the history, the latest first
  rated: [], // a rating for each of `with`
  item: "",
};
const defaults = { ...SHARED };
const FIRST = "shortlist";

/** Keys of a panel, with their defaults ("" or []). Call it where the module is loaded. */
export function declare(own) {
  Object.assign(defaults, own);
}

/** A hash as its route and the state, with defaults filled in. */
export function parse(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const given = new URLSearchParams(query);
  const state = {};
  for (const name of new Set([...Object.keys(defaults), ...given.keys()])) {
    const values = given.getAll(name);
    if (Array.isArray(defaults[name])) state[name] = Object.freeze(values);
    else state[name] = values.length ? values[0] : (defaults[name] ?? "");
  }
  return { route: path || FIRST, state: Object.freeze(state) };
}

/** The hash of a route and a state. */
export function format(route, state) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) {
    if (same(value, defaults[name] ?? "")) continue;
    for (const one of Array.isArray(value) ? value : [value]) query.append(name, one);
  }
  const text = query.toString();
  return `#/${route}${text ? `?${text}` : ""}`;
}

/** A state with some keys changed; "", null and [] bring a default back. */
export function merge(state, patch) {
  const next = { ...state };
  for (const [name, value] of Object.entries(patch)) {
    const usual = defaults[name] ?? "";
    if (value === null || value === undefined || value === "") next[name] = usual;
    else next[name] = Array.isArray(value) ? value.map(String) : String(value);
  }
  return next;
}

/** Only what all views share: what a link to another view takes along. */
export function shared(state) {
  return Object.fromEntries(Object.keys(SHARED).filter((name) => name !== "item").map((name) => [name, state[name]]));
}

/** The names of keys whose values differ. */
export function differences(before, after) {
  const names = new Set([...Object.keys(before), ...Object.keys(after)]);
  return new Set([...names].filter((name) => !same(before[name], after[name])));
}

/**
 * The page's place: reads the hash, writes it, and tells whoever subscribed.
 * onroute(route): another route was entered, by a link, the address bar or the back button.
 */
export function createStore(onroute) {
  let { route, state } = parse(location.hash);
  const listeners = new Set();

  function take(next) {
    const changed = differences(state, next.state);
    const moved = next.route !== route;
    ({ route, state } = next);
    if (moved) onroute(route);
    if (changed.size || moved) for (const listener of [...listeners]) listener(state, changed);
  }

  // A browser says the same change twice (popstate, hashchange): the second finds nothing changed.
  for (const event of ["popstate", "hashchange"]) {
    window.addEventListener(event, () => {
      if (location.hash === "" || location.hash.startsWith("#/")) take(parse(location.hash));
    });
  }

  return {
    get route() {
      return route;
    },
    get state() {
      return state;
    },
    /** Read the hash again, for keys that a panel declared meanwhile; nobody is told. */
    reread() {
      ({ route, state } = parse(location.hash));
    },
    set(patch, { push = false } = {}) {
      const hash = format(route, merge(state, patch));
      if (hash === format(route, state)) return;
      history[push ? "pushState" : "replaceState"](null, "", hash);
      take(parse(hash));
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    link(to, patch = {}) {
      return format(to, merge(to === route ? state : { ...parse("").state, ...shared(state) }, patch));
    },
  };
}

function same(one, other) {
  if (!Array.isArray(one) || !Array.isArray(other)) return one === other;
  return one.length === other.length && one.every((value, n) => value === other[n]);
}
