// What may be changed about a request: how many, which, when, and what the order is by. Only what has an effect on
// this bundle is shown. A value that the server refuses is said at its field.

import { debounce, h, replace, uid } from "../../dom.js";
import { day, nameOf, plain, score } from "../../format.js";
import { itemsByIds } from "../../items.js";
import { aboutFields } from "./about.js";

/** Returns the card with `show(person)`, `refuse(error)` (true where a field is to blame), `accept()`. */
export function controlsCard(context) {
  const bundle = context.bundle();
  const fields = {
    k: kField(context, bundle),
    where: whereField(context, bundle),
    weight: bundle.utility?.adjustable === false ? null : weightField(context, bundle),
    at: (bundle.context ?? []).some((one) => one.name === "timestamp") ? timeField(context) : null,
  };
  const seen = h("input", { type: "checkbox", onchange: () => context.set({ seen: seen.checked ? "1" : "" }) });
  const excluded = h("div", { class: "controls-excluded" });
  const about = aboutFields(context, bundle);
  const reset = h("button", { type: "button", class: "button button-small", onclick: clear }, "Reset");

  const fold = h(
    "details",
    { class: "controls-fold" },
    h("summary", {}, "Settings"),
    h("div", { class: "controls-fields" }, Object.values(fields).map((field) => field?.element)),
    h(
      "div",
      { class: "controls-more" },
      h("label", { class: "check" }, seen, "Also what they had"),
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
    replace(excluded, state.exclude.length > 0 && excludedTags(context, names));
  }

  function accept() {
    for (const field of Object.values(fields)) field?.say(null);
    about?.say(null);
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
      replace(said, error && [error.message.replace(/^where\[\d+\], /, ""), error.hint && ` (${error.hint})`]);
      if (error) control.setAttribute("aria-invalid", "true");
      else control.removeAttribute("aria-invalid");
    },
  };
}

function kField(context, bundle) {
  const most = bundle.limits?.k ?? 1000;
  const later = debounce(() => {
    if (input.validity.valid && input.value) context.set({ k: input.value });
    else field.say({ message: `A whole number from 1 to ${most}` });
  });
  const input = h("input", { class: "input", type: "number", min: 1, max: most, step: 1, inputmode: "numeric", oninput: later });
  const field = fieldOf({ label: "Items", control: input, size: "field-narrow" });
  return { ...field, show: (state) => keep(input, state.k) };
}

function whereField(context, bundle) {
  const later = debounce(() => context.set({ where: input.value }), 350);
  const input = h("input", { class: "input mono", type: "text", autocomplete: "off", autocapitalize: "off", spellcheck: "false", oninput: later, onchange: () => later.now() });
  input.placeholder = exampleOf(bundle);
  const note = `Columns: ${bundle.item_columns.join(", ")}`;
  const field = fieldOf({ label: "Only where", control: input, note, size: "field-wide" });
  return { ...field, show: (state) => keep(input, state.where) };
}

function weightField(context, bundle) {
  const own = bundle.utility?.rating_weight ?? 0;
  const head = bundle.utility?.head ?? "rating";
  const told = h("output", {});
  const later = debounce(() => context.set({ weight: Number(input.value) === own ? "" : input.value }), 120);
  const input = h("input", { type: "range", min: 0, max: Math.max(5, Math.ceil(2 * own)), step: 0.1, oninput: () => (draw(), later()) });
  const draw = () => replace(told, score(Number(input.value), 1), Number(input.value) === own ? " (the bundle's)" : ` (the bundle's is ${score(own, 1)})`);
  const field = fieldOf({ label: `Weight of the ${head}`, control: input, note: told });
  return {
    ...field,
    show(state) {
      keep(input, state.weight === "" ? own : state.weight);
      draw();
    },
  };
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
      else field.note(typeof stored === "number" ? `As stored: ${day(stored)}` : "Not told");
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
function keep(input, value) {
  if (document.activeElement !== input) input.value = value;
}
