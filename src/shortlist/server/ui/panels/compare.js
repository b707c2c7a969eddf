// Two bundles side by side for the same person: what both recommend, what only one does, and how items move.

import { get, identity, latest, post } from "../api.js";
import { h, replace } from "../dom.js";
import { count } from "../format.js";
import { stateful } from "../states.js";
import { sides } from "./compare/sides.js";
import { bodyOf, isChanged } from "./shortlist/asking.js";
import { controlsCard } from "./shortlist/controls.js";
import { whoCard } from "./shortlist/who.js";

export const title = "Compare";

const NOBODY = { id: null, known: false, user: {}, history: [], total: 0 };

export async function mount(element, context) {
  if (context.bundles.length < 2) return alone(element, context);
  const [first, second] = context.bundles;
  const askPerson = latest(context.signal);
  const askLists = latest(context.signal);
  const who = whoCard(context);
  const controls = controlsCard(context, [first, second]);
  const body = h("div", { class: "compare-body" });
  const view = stateful(body, "both shortlists");
  const card = h("section", { class: "panel compare", "aria-label": "Both shortlists" }, body);
  replace(element, h("div", { class: "people compare-page" }, who.element, controls.element, card));
  let person = NOBODY;

  async function loadPerson() {
    const { user } = context.state;
    person = user ? { ...NOBODY, id: user } : NOBODY;
    who.show(user ? null : NOBODY);
    if (!user) return;
    const limit = Math.min(first.limits?.user_history ?? 2000, 2000);
    const found = await askPerson((signal) => get(`v1/users/${identity(user)}`, { limit }, { signal }));
    if (found === undefined) return;
    person = { id: user, known: found.known, user: found.user, history: found.history, total: found.total ?? found.history.length };
    who.show(person);
    controls.show(person);
  }

  function ask(bundle, signal) {
    const weight = bundle.utility?.adjustable === false ? "" : context.state.weight;
    return post("v1/recommend", bodyOf(person, { ...context.state, side: bundle.side, weight }, bundle), { signal });
  }

  async function load() {
    controls.show(person);
    view.loading({ rows: 16 });
    try {
      const known = loadPerson();
      known.catch(() => {}); // it is awaited below
      if (isChanged(context.state)) await known;
      const found = await askLists((signal) => Promise.all([ask(first, signal), ask(second, signal)]));
      await known;
      if (found === undefined) return;
      controls.accept(found);
      if (found.every((answer) => answer.items.length === 0)) {
        const clear = h("button", { type: "button", class: "button", onclick: () => context.set({ where: "", exclude: [], seen: "" }) }, "Clear the filters");
        view.empty("Nothing is left to recommend", "The filter, and what this person had, leave no item in either bundle.", clear);
        return context.announce("No items");
      }
      const { node, said } = sides(context, [first, second], found);
      view.show(changedNote(), node);
      context.announce(said);
    } catch (error) {
      if (context.signal.aborted) return;
      if (!controls.refuse(error)) view.error(error, load);
      else if (view.state !== "ready") view.empty("No shortlists yet", "A setting cannot be read; it says why.");
    }
  }

  /** What was changed in the other view counts here too, and is seen nowhere else on this page. */
  function changedNote() {
    const { with: added, without } = context.state;
    const parts = [added.length && `${count(added.length, "item")} put in`, without.length && `${count(without.length, "item")} taken out`].filter(Boolean);
    if (!parts.length && context.state.user) return null;
    const add = h("a", { href: context.link("shortlist") }, "Add items");
    if (!parts.length) return h("p", { class: "compare-changed muted" }, "Somebody who did nothing. ", add, " on the shortlist’s page to compare for somebody who did something.");
    const back = h("button", { type: "button", class: "button button-small", onclick: () => context.set({ with: [], rated: [], without: [] }) }, "As it was");
    return h("p", { class: "row compare-changed" }, h("span", { class: "badge badge-warn" }, "Changed history"), parts.join(", "), back);
  }

  context.subscribe((_, changed) => {
    if (!(changed.size === 1 && changed.has("side"))) load();
  });
  load();
}

function alone(element, context) {
  const card = h("section", { class: "panel" });
  replace(element, card);
  const view = stateful(card, "both shortlists");
  view.empty(
    "This server answers from one bundle",
    "Start it with two, and this page shows what each recommends to the same person:",
    h("code", { class: "compare-command" }, "shortlist serve BUNDLE --against OTHER_BUNDLE"),
    h("a", { class: "button", href: context.link("shortlist") }, "Back to the shortlist"),
  );
}
