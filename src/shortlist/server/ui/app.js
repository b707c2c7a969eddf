// The page: which view is shown, what all views share, and the bar above them. A view is a module in panels/ with
// a `title` and `mount(element, context)`; it is loaded when it is first asked for.

import { get } from "./api.js";
import { h, replace } from "./dom.js";
import { createStore } from "./store.js";
import { stateful } from "./states.js";
import { bar } from "./widgets/bar.js";

/** The views, in the order of the navigation; those without a name are reached by links. */
const VIEWS = {
  shortlist: { name: "Shortlist", load: () => import("./panels/shortlist.js") },
  catalogue: { name: "Catalogue", load: () => import("./panels/catalogue.js") },
  map: { name: "Map", load: () => import("./panels/map.js") },
  evaluation: { name: "Evaluation", load: () => import("./panels/evaluation.js") },
  compare: { name: "Compare", load: () => import("./panels/compare.js") },
  item: { name: "", load: () => import("./panels/item.js") },
};

const main = document.getElementById("main");
const announcements = document.getElementById("announcements");
const store = createStore(() => show({ focus: true }));
const frame = bar({ views: VIEWS, store, onkey: () => start() });
let bundles = [];
let leave = () => {};

/** Learn what answers here, then show the view of the URL. */
async function start() {
  leave();
  const element = h("section", { class: "panel" });
  replace(main, h("h1", { class: "title", tabindex: -1 }, viewOf(store.route)?.name || "Shortlist"), element);
  const view = stateful(element, "the recommender");
  view.loading({ rows: 6 });
  try {
    bundles = (await get("v1/about")).sides;
  } catch (error) {
    view.error(error, start);
    document.documentElement.dataset.ready = "";
    return;
  }
  // A link of a server with other bundles.
  if (store.state.side && !bundles.some((one) => one.side === store.state.side)) store.set({ side: "" });
  frame.tell(bundles);
  await show({ focus: false });
}

/** Show the view of the URL in place of the one before. */
async function show({ focus }) {
  leave();
  const own = new AbortController();
  const undo = [];
  leave = () => {
    own.abort();
    for (const one of undo.splice(0)) one();
    leave = () => {};
  };
  const { route } = store;
  main.dataset.route = route;
  frame.mark(route);
  if (bundles.length === 0) return;
  const chosen = viewOf(route);
  if (!chosen) return lost(route);

  const heading = h("h1", { class: "title", tabindex: -1 }, chosen.name);
  const section = h("section", { class: "view", dataset: { panel: route } });
  replace(main, heading, section);
  const view = stateful(section, chosen.name || "the view");
  view.loading({ rows: 8 });
  try {
    const panel = await chosen.load();
    if (own.signal.aborted) return;
    store.reread();
    replace(heading, panel.title);
    document.title = `${panel.title} · Shortlist`;
    if (focus) enter(heading);
    view.show();
    const unmount = await panel.mount(section, contextOf(own.signal, undo));
    if (typeof unmount === "function") {
      if (own.signal.aborted) unmount();
      else undo.push(unmount);
    }
  } catch (error) {
    if (!own.signal.aborted) view.error(error, () => show({ focus: true }));
  }
  document.documentElement.dataset.ready = "";
}

function viewOf(route) {
  return Object.hasOwn(VIEWS, route) ? VIEWS[route] : null;
}

function contextOf(signal, undo) {
  return {
    signal,
    bundles,
    get state() {
      return store.state;
    },
    set: store.set,
    link: store.link,
    announce,
    bundle: () => bundles.find((one) => one.side === store.state.side) ?? bundles[0],
    subscribe(listener) {
      const stop = store.subscribe((state, changed) => {
        if (!signal.aborted && changed.size) listener(state, changed);
      });
      undo.push(stop);
      return stop;
    },
  };
}

/** Said by screen readers, once the page has changed. */
function announce(text) {
  replace(announcements);
  setTimeout(() => replace(announcements, text), 60);
}

/** Where a keyboard goes on after a view was changed. */
function enter(heading) {
  window.scrollTo(0, 0);
  heading.focus({ preventScroll: true });
}

function lost(route) {
  const section = h("section", { class: "panel" });
  replace(main, h("h1", { class: "title", tabindex: -1 }, "Nothing here"), section);
  const back = h("a", { class: "button", href: store.link("shortlist") }, "Go to the shortlist");
  stateful(section, "the view").empty(`There is no view “${route}”.`, "", back);
  document.documentElement.dataset.ready = "";
}

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
start();
