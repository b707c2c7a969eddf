// The shortlist of a person: who it is for, what they did, what is asked, and what is answered, each a card of its own.
// This module loads what the cards show: the person when another is chosen, the list whenever anything changes.

import { get, identity, latest, post } from "../api.js";
import { h } from "../dom.js";
import { declare } from "../store.js";
import { followBundle } from "./shortlist/answering.js";
import { bodyOf, isChanged } from "./shortlist/asking.js";
import { controlsCard } from "./shortlist/controls.js";
import { historyCard } from "./shortlist/history.js";
import { listCard } from "./shortlist/list.js";
import { whoCard } from "./shortlist/who.js";
import { whyCard } from "./shortlist/why.js";

export const title = "Shortlist";
declare({ why: "" });

const NOBODY = { id: null, known: false, user: {}, history: [], total: 0 };
/** Keys of the state that a shortlist depends on. */
const ASKED = ["user", "k", "where", "exclude", "seen", "at", "weight", "without", "with", "rated", "about"];

export async function mount(element, context) {
  await followBundle(element, context, people);
}

/** All the cards, for the bundle of a context. */
function people(context) {
  const askPerson = latest(context.signal);
  const askList = latest(context.signal);
  const why = whyCard(context, { bodyOf: () => bodyOf(person, context.state, context.bundle()) });
  const who = whoCard(context);
  const controls = controlsCard(context);
  const history = historyCard(context);
  const list = listCard(context, {
    onwhy: (id) => context.set({ why: context.state.why === id ? "" : id }),
    whyOf: (item) => (item.item_id === context.state.why ? why.element : null),
  });
  let person = NOBODY;
  let answer = null;

  async function loadPerson() {
    const { user } = context.state;
    const { side } = context.bundle();
    person = user ? { ...NOBODY, id: user } : NOBODY;
    who.show(user ? null : NOBODY);
    if (!user) return history.show(NOBODY);
    history.loading();
    try {
      const limit = Math.min(context.bundle().limits?.user_history ?? 2000, 2000);
      const columns = { item_columns: context.bundle().item_columns.slice(0, 6), limit, side };
      const found = await askPerson((signal) => get(`v1/users/${identity(user)}`, columns, { signal }));
      if (found === undefined) return;
      person = { id: user, known: found.known, user: found.user, history: found.history, total: found.total ?? found.history.length };
      who.show(person);
      controls.show(person);
      await history.show(person);
    } catch (error) {
      if (!context.signal.aborted) {
        who.show(undefined);
        history.error(error, start);
      }
      throw error;
    }
  }

  async function loadList() {
    list.loading();
    try {
      const body = bodyOf(person, context.state, context.bundle());
      const found = await askList((signal) => post("v1/recommend", body, { signal }));
      if (found === undefined) return;
      answer = found;
      controls.accept([answer]);
      list.show(answer);
      explain();
    } catch (error) {
      if (controls.refuse(error)) list.stale();
      else list.error(error, loadList);
    }
  }

  function explain() {
    const item = answer?.items.find((one) => one.item_id === context.state.why);
    if (item) why.load(item);
  }

  /** A changed history can be told only once the stored one is known. */
  async function start() {
    controls.show(person);
    const loaded = loadPerson();
    if (isChanged(context.state)) {
      try {
        await loaded;
      } catch (error) {
        return list.error(error, start);
      }
    } else {
      loaded.catch(() => {}); // the history says it
    }
    if (!context.signal.aborted) await loadList();
  }

  context.subscribe((state, changed) => {
    if (changed.has("user")) return start();
    controls.show(person);
    if (["with", "without", "rated", "at"].some((name) => changed.has(name))) history.show(person);
    if (ASKED.some((name) => changed.has(name))) loadList();
    else if (changed.has("why") && answer) {
      list.show(answer);
      explain();
    }
  });
  start();
  return h("div", { class: "people" }, who.element, controls.element, history.element, list.element);
}
