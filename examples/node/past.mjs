// The columns that are made of what a user did, as of the time of a request: as docs/reference/features.md
// has them, for those who write them in a language of their own.
import { MISSING_INT } from "./bundle.mjs";

const PAUSE = 1800n; // seconds without an event that end a session
const SHRINK = 5; // ratings of the mean that every item is thought to have had already

const size = (x) => (x < 0n ? -x : x);

/** Places of a user's events in the log: all of them, or those at an earlier second; the latest first. */
export function eventsOf({ past }, row, time, everything = false) {
  if (row < 0) return [];
  const places = [];
  for (let place = Number(past.indptr[row + 1]) - 1; place >= past.indptr[row]; place--) {
    if (everything || past.times[place] < time) places.push(place);
  }
  return places;
}

/** Of every item, the first event the user had with it; the latest first. */
function firstsOf(bundle, row, time, everything) {
  const first = new Map();
  for (const place of eventsOf(bundle, row, time, true)) first.set(bundle.past.items[place], place);
  const places = [...first.values()].sort((a, b) => b - a);
  return places.filter((place) => everything || bundle.past.times[place] < time);
}

/** The events nearest in time, on either side. */
function nearestOf(bundle, row, time) {
  const { times } = bundle.past;
  const places = eventsOf(bundle, row, time, true);
  const centre = Math.min(...places.filter((place) => times[place] >= time), (places[0] ?? 0) + 1);
  const away = (place) => size(times[place] - time);
  return places.sort(
    (a, b) => Number(away(a) - away(b)) || Math.abs(a - centre) - Math.abs(b - centre) || a - b,
  );
}

/** How far each rating lies above what other ratings of its item (at an earlier second, or all) suggest. */
function residualsOf({ past }, places, everything) {
  if (past.ratings === null) return places.map(() => 0);
  const usual = new Map(places.map((place) => [past.items[place], []]));
  past.items.forEach((item, place) => usual.get(item)?.push(place));
  return places.map((place) => {
    const others = usual.get(past.items[place]).filter((p) => everything || past.times[p] < past.times[place]);
    const sum = others.reduce((total, p) => total + past.ratings[p] - past.mean, 0);
    return Math.fround(past.ratings[place] - past.mean - sum / (others.length + SHRINK));
  });
}

/** One of the derived columns of a request, a list or a whole number; undefined for any other name. */
export function derived(bundle, name, row, time, length) {
  const { items, past } = bundle;
  if (past === null) return undefined;
  const ids = (places) => places.slice(0, length).map((place) => items[past.items[place]]);
  const times = (places) => places.slice(0, length).map((place) => past.times[place]);
  const residuals = (places, all) => residualsOf(bundle, places.slice(0, length), all);
  switch (name) {
    case "history":
      return ids(eventsOf(bundle, row, time));
    case "history_timestamp":
      return times(eventsOf(bundle, row, time));
    case "nearest":
      return ids(nearestOf(bundle, row, time));
    case "nearest_timestamp":
      return times(nearestOf(bundle, row, time));
    case "seen":
      return ids(firstsOf(bundle, row, time, false));
    case "seen_residual":
      return residuals(firstsOf(bundle, row, time, false), false);
    case "others":
      return ids(firstsOf(bundle, row, time, true));
    case "others_residual":
      return residuals(firstsOf(bundle, row, time, true), true);
    default:
      return number(past, name, eventsOf(bundle, row, time), time);
  }
}

function number(past, name, places, time) {
  const then = (place) => (past.timed && place !== undefined ? time - past.times[place] : MISSING_INT);
  switch (name) {
    case "past_count":
      return BigInt(places.length);
    case "past_gap":
      return then(places[0]);
    case "past_span":
      return then(places.at(-1));
    case "session_count": {
      if (!past.timed || places.length === 0 || then(places[0]) > PAUSE) return 0n;
      const last = places.findIndex((place, i) => i > 0 && past.times[places[i - 1]] - past.times[place] > PAUSE);
      return BigInt(last < 0 ? places.length : last);
    }
  }
}
