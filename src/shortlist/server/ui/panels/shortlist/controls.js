// What may be changed about a request: how many, which, when, and what the order is by. Only what has an effect on
// this bundle is shown. A value that the server refuses is said at its field.

import { debounce, focusOn, h, replace, uid } from "../../dom.js";
import { day, nameOf, plain, score } from "../../format.js";
import { itemsByIds } from "../../items.js";
import { aboutFields } from "./about.js";
import { weightOf } from "./asking.js";

/**
 * Returns the card with `show(person)`, `refuse(error)` (true where a field is to blame), `accept(answers)`.
 * bundles: those that answer, where it is not one alone.
 */
export function controlsCard(context, bundles = [context.bundle()]) {
  const [bundle] = bundles;
  const columns = bundle.item_columns.filter((name) => bundles.every((one) => one.item_columns.includes(name)));
  const read = [...new Map(bundles.flatMap((one) => one.context ?? []).map((one) => [one.name, one])).values()];
  const fields = {
    k: kField(context, bundle),
    where: columns.length > 0 || context.state.where ? whereField(context, bundle, columns) : null,
    weight: weightField(context, bundles.filter((one) => one.utility?.adjustable !== false), bundles.length),
    at: read.some((one) => one.name === "timestamp") ? timeField(context) : null,
  };
  const seen = h("input", { type: "checkbox", onchange: () => context.set({ seen: seen.checked ? "1" : "" }) });
  const excluded = h("div", { class: "controls-excluded" });
  const about = aboutFields(context, read);
  const reset = h("button", { type: "button", class: "button button-small", onclick: clear }, "Reset");

  const fold = h(
    "details",
    { class: "controls-fold" },
    h("summary", {}, "Settings"),
    h("div", { class: "controls-fields" }, Object.values(fields).map((field) => field?.element)),
    h(
      "div",
      { class: "controls-more" },
      h("label", { class: "check" }, seen, "Include items they had"),
      excluded,
      about?.element,
      reset,
    ),
  );
  const element = h("section", { class: "panel controls", "aria-label": "Settings" }, fold);
  const wide = window.matchMedia("(min-width: 700px)"); // shortlist.css hides the summary from there on
  const unfold = () => (fold.open = wide.matches || isSet(context.state));
  wide.addEventListener("change", unfold, { signal: context.signal });
  unfold();

  function clear() {
    context.set({ k: "", where: "", weight: "", at: "", seen: "", exclude: [], about: [] });
    focusOn(element);
    context.announce("Settings are as they were");
  }

  async function show(person) {
    const { state } = context;
    for (const field of Object.values(fields)) field?.show(state, person);
    about?.show(state, person);
    seen.checked = state.seen === "1";
    reset.hidden = !isSet(state);
    const names = await itemsByIds(state.exclude, { side: context.bundle().side, signal: context.signal }).catch(() => new Map());
    if (context.signal.aborted || state !== context.state) return;
    const within = excluded.contains(document.activeElement);
    replace(excluded, state.exclude.length > 0 && excludedTags(context, names));
    if (within) focusOn(element);
  }

  function accept(answers = []) {
    for (const field of Object.values(fields)) field?.say(null);
    about?.say(null);
    const items = answers.flatMap((answer) => answer.items);
    if (items.length > 0) fields.weight?.matters(items.some((item) => item.source !== "popular"));
  }

  function refuse(error) {
    accept();
    const places = { "/where": fields.where, "/k": fields.k, "/timestamp": fields.at, "/utility": fields.weight };
    const field = Object.entries(places).find(([pointer]) => error.pointer?.startsWith(pointer))?.[1];
    if (field) field.say(error);
    else if (error.pointer?.startsWith("/context/") && about) about.say(error);
    else return false;
    return true;
  }

  return { element, show, accept, refuse };
}

/** Whether anything is not as it is at first. */
function isSet(state) {
  const texts = ["where", "weight", "at", "seen"].some((name) => state[name] !== "");
  return texts || state.k !== "10" || state.exclude.length > 0 || state.about.length > 0;
}

/** A label, a control, a note and a place for what is wrong with it. */
export function fieldOf({ label, control, note, size = "" }) {
  const id = control.id || uid("field");
  control.id = id;
  const said = h("p", { class: "field-error", id: `${id}-error`, role: "alert", hidden: true });
  const below = h("p", { class: "field-note", id: `${id}-note` }, note);
  control.setAttribute("aria-describedby", `${id}-note ${id}-error`);
  const element = h("div", { class: `field ${size}` }, h("label", { for: id }, label), control, below, said);
  return {
    element,
    note: (text) => replace(below, text),
    say(error) {
      said.hidden = error === null;
      below.hidden = error !== null;
      replace(said, error && [error.message.replace(/^where(\[\d+\])?, /, ""), error.hint && ` (${error.hint})`]);
      if (error) control.setAttribute("aria-invalid", "true");
      else control.removeAttribute("aria-invalid");
    },
  };
}

function kField(context, bundle) {
  const most = bundle.limits?.k ?? 1000;
  const wrong = { message: `A whole number from 1 to ${most}` };
  const later = debounce(() => {
    if (input.validity.valid && input.value) context.set({ k: input.value });
    else field.say(wrong);
  });
  // Whoever leaves what cannot be asked for finds what is shown.
  const leave = () => {
    if (later.waits()) later.now();
    if (input.value === context.state.k) return;
    fill(input, context.state.k);
    if (input.validity.valid && input.value) field.say(null);
  };
  const input = h("input", { class: "input", type: "number", min: 1, max: most, step: 1, inputmode: "numeric", oninput: later, onblur: leave });
  const field = fieldOf({ label: "Items", control: input, size: "field-narrow" });
  return { ...field, say: (error) => field.say(error && wrong), show: (state) => keep(input, state.k) };
}

function whereField(context, bundle, columns) {
  const later = debounce(() => context.set({ where: input.value }), 350);
  const input = h("input", { class: "input mono", type: "text", autocomplete: "off", autocapitalize: "off", spellcheck: "false", oninput: later, onchange: () => later.now() });
  input.placeholder = exampleOf(bundle);
  const note = columns.length > 0 ? `Columns: ${columns.join(", ")}` : "This catalogue has no columns.";
  const field = fieldOf({ label: "Only where", control: input, note, size: "field-wide" });
  return { ...field, show: (state) => later.waits() || (input.value = state.where) };
}

/** bundles: those whose order can be weighed, of so many that answer; null where there are none. */
function weightField(context, bundles, many) {
  if (bundles.length === 0) return null;
  const owns = bundles.map((one) => one.utility?.rating_weight ?? 0);
  const [own] = owns;
  const agreed = owns.every((one) => one === own);
  const head = bundles[0].utility?.head ?? "rating";
  const told = h("output", {});
  let heard = true;
  const later = debounce(() => context.set({ weight: agreed && Number(input.value) === own ? "" : input.value }), 120);
  const most = Math.max(5, ...owns.map((one) => Math.ceil(2 * one)));
  const input = h("input", { type: "range", min: 0, max: most, step: 0.1, oninput: () => (draw(Number(input.value)), later()) });
  const draw = (weight) => replace(told, heard ? saidOf(bundles, many, weight) : "No effect now: the model is not asked about this person, who gets popular items.");
  const field = fieldOf({ label: `Weight of the ${head}`, control: input, note: told });
  return {
    ...field,
    show(state) {
      if (later.waits()) return;
      const chosen = weightOf(state);
      const value = chosen ?? own; // an address may have one beyond the slider's ends
      Object.assign(input, { min: Math.min(0, Math.floor(value)), max: Math.max(most, Math.ceil(value)), value });
      draw(chosen);
    },
    /** Whether the model was asked: else there is nothing to weigh. */
    matters(yes) {
      heard = yes;
      input.disabled = !yes;
      draw(later.waits() ? Number(input.value) : weightOf(context.state));
    },
  };
}

/** weight: what was chosen for all of the bundles; null: each has its own. */
function saidOf(bundles, many, weight) {
  const owns = bundles.map((one) => one.utility?.rating_weight ?? 0);
  const agreed = owns.every((one) => one === owns[0]);
  const whose = many === 1 ? "the bundle's" : bundles.length < many ? `bundle ${bundles[0].side}'s` : "both bundles'";
  const figure = (value) => (Number.isInteger(Number((10 * value).toFixed(6))) ? score(value, 1) : plain(value));
  const each = bundles.map((one, n) => `${one.side} ${figure(owns[n])}`).join(", ");
  const only = bundles.length < many ? `; of bundle ${bundles[0].side} alone` : "";
  if (weight === null) return agreed ? `${figure(owns[0])} (${whose} own)` : `each bundle's own: ${each}`;
  if (agreed && weight === owns[0]) return `${figure(weight)} (${whose} own)`;
  return agreed ? `${figure(weight)} (${whose} own is ${figure(owns[0])})${only}` : `${figure(weight)} for both (their own: ${each})`;
}

function timeField(context) {
  const later = debounce(() => context.set({ at: input.value.slice(0, 16) }), 350);
  const input = h("input", { class: "input", type: "datetime-local", oninput: later });
  const field = fieldOf({ label: "Date and time (UTC)", control: input });
  return {
    ...field,
    show(state, person) {
      keep(input, state.at);
      const stored = person?.user?.timestamp;
      if (state.at) field.note("");
      else field.note(typeof stored === "number" ? `As stored: ${day(stored)}` : "No time is given");
    },
  };
}

function excludedTags(context, names) {
  const { exclude } = context.state;
  const bundle = context.bundle();
  const tags = exclude.map((id) => {
    const name = nameOf(names.get(id) ?? { item_id: id }, bundle);
    const back = h(
      "button",
      { type: "button", class: "tag-button", "aria-label": `Allow ${name} again`, onclick: () => context.set({ exclude: exclude.filter((one) => one !== id) }) },
      "×",
    );
    return h("li", { class: "tag" }, name, back);
  });
  return [h("span", { class: "label" }, "Left out"), h("ul", { class: "tags" }, tags)];
}

/** A condition that this catalogue understands, as an example. */
function exampleOf(bundle) {
  const columns = bundle.columns?.items ?? [];
  const parts = [];
  const number = columns.find((one) => one.kind === "number" && one.most !== undefined);
  if (number) parts.push(`${number.name} >= ${plain(Math.round((number.least + 3 * number.most) / 4))}`);
  const tags = columns.find((one) => one.kind === "tags" && one.examples?.length);
  if (tags) parts.push(`'${tags.examples[0]}' in ${tags.name}`);
  return parts.length ? parts.join(" and ") : "a condition on the items' columns";
}

/** Show a value, but not in a field somebody is typing into. */
export function keep(input, value) {
  if (document.activeElement !== input) fill(input, value);
}

const READABLE = { number: /^-?\d*\.?\d+$/, "datetime-local": /^\d{4,}-\d\d-\d\dT\d\d:\d\d/ };

/** What a field cannot hold (an address can) leaves it empty. */
function fill(input, value) {
  input.value = (READABLE[input.type] ?? /^/).test(value) ? value : "";
}
