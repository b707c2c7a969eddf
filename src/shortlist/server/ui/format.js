// Numbers, days and columns as people read them.

import { h } from "./dom.js";

const INTEGER = new Intl.NumberFormat("en");
const FIXED = [0, 1, 2, 3].map((digits) => new Intl.NumberFormat("en", { minimumFractionDigits: digits, maximumFractionDigits: digits, signDisplay: "negative" }));
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", timeZone: "UTC" });

/** 1682 -> "1,682". */
export function whole(value) {
  return INTEGER.format(value);
}

/** 3, "item" -> "3 items". */
export function count(value, noun, many = `${noun}s`) {
  return `${whole(value)} ${value === 1 ? noun : many}`;
}

/** A score, with a true minus; null: a dash. */
export function score(value, digits = 2) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  return FIXED[digits].format(value).replace("-", "−");
}

/** A rating: 4, 3.5; one decimal at most. */
export function rounded(value) {
  return score(value, Number.isInteger(Math.round(value * 10) / 10) ? 0 : 1);
}

/** A change, with its sign. */
export function change(value, digits = 2) {
  const text = score(value, digits);
  return value > 0 && text !== score(0, digits) ? `+${text}` : text;
}

/** Seconds since 1970 -> "19 Apr 1998", in UTC. */
export function day(seconds) {
  return DAY.format(new Date(seconds * 1000));
}

/** Seconds since 1970 -> "19:05", in UTC. */
export function clock(seconds) {
  return CLOCK.format(new Date(seconds * 1000));
}

/** A column's value as text; lists with commas, null as nothing, six digits of a fraction. */
export function plain(value) {
  if (value === null || value === undefined) return "";
  if (Array.isArray(value)) return value.map(plain).filter(Boolean).join(", ");
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "number" && !Number.isInteger(value)) return String(Number(value.toPrecision(6)));
  return String(value);
}

/** What an item is called: its name column where there is one, else its id. */
export function nameOf(row, bundle) {
  return plain(row?.[bundle.name_column]) || String(row?.item_id ?? "");
}

/** The other columns of an item, as one line of nodes; null where it has none. `except`: names left out. */
export function details(row, bundle, except = []) {
  const left = new Set([bundle.name_column, "item_id", ...except]);
  return dotted((bundle.item_columns ?? []).filter((name) => !left.has(name)).map((name) => plain(row[name])));
}

/** Texts with dots between them, each with a direction of its own; null where there are none. */
export function dotted(texts) {
  const parts = texts.filter(Boolean).map((text) => h("bdi", {}, text));
  return parts.length ? parts.flatMap((part, n) => (n ? [" · ", part] : [part])) : null;
}
