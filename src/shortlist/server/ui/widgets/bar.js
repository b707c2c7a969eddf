// The bar above every view: navigation, which bundle answers, the key, the theme; and the line below the page.

import { key, setKey } from "../api.js";
import { h, replace, uid } from "../dom.js";
import { count } from "../format.js";
import { themeButton } from "./theme.js";

/**
 * Fill the bar. onkey: a key was entered or forgotten. Returns `tell(bundles)`, once it is known what answers, and
 * `mark(route)`, which view is shown.
 */
export function bar({ views, store, onkey }) {
  const tools = document.querySelector(".bar-tools");
  const dialog = keyDialog(onkey);
  const keyButton = h("button", { type: "button", class: "button button-quiet", hidden: true, onclick: () => dialog.open() }, "Key");
  const sides = h("div", { class: "bar-sides" });
  replace(tools, sides, keyButton, themeButton());
  document.body.append(dialog.element);
  window.addEventListener("keyneeded", () => {
    keyButton.hidden = false;
    dialog.open({ refused: true });
  });
  keyButton.hidden = !key();

  const links = Object.entries(views)
    .filter(([, view]) => view.name)
    .map(([route, view]) => h("a", { href: store.link(route), dataset: { route } }, view.name));
  replace(document.querySelector(".nav"), h("ul", {}, links.map((link) => h("li", {}, link))));
  const relink = () => {
    for (const link of links) link.setAttribute("href", store.link(link.dataset.route));
  };
  store.subscribe(relink);

  return {
    tell(bundles) {
      keyButton.hidden = !key();
      if (bundles.length > 1) replace(sides, sideChoice(bundles, store));
      replace(document.querySelector(".foot"), footing(bundles));
    },
    mark(route) {
      relink();
      for (const link of links) {
        if (link.dataset.route === route) link.setAttribute("aria-current", "page");
        else link.removeAttribute("aria-current");
      }
    },
  };
}

/** Which of several bundles answers: the user's own by the split, or one of them for everybody. */
function sideChoice(bundles, store) {
  const id = uid("side");
  const options = bundles.map((one) => h("option", { value: one.side }, `Bundle ${one.side}`));
  const select = h(
    "select",
    { id, class: "select", onchange: () => store.set({ side: select.value }, { push: true }) },
    h("option", { value: "" }, "By user"),
    options,
  );
  select.value = store.state.side;
  store.subscribe((state) => (select.value = state.side));
  return [h("label", { class: "visually-hidden", for: id }, "Which bundle answers"), select];
}

function footing(bundles) {
  const facts = bundles.map((one) => {
    const name = bundles.length > 1 ? `Bundle ${one.side}` : "Bundle";
    return h("li", {}, `${name} `, h("span", { class: "mono" }, one.version), ` · ${count(one.items, "item")} · ${count(one.users, "user")}`);
  });
  return h("ul", {}, facts, h("li", {}, h("a", { href: "docs" }, "Interface")));
}

/** A dialog for the API key. */
function keyDialog(onkey) {
  const id = uid("key");
  const input = h("input", { id, class: "input mono", type: "password", autocomplete: "off", spellcheck: "false" });
  const element = h("dialog", { class: "dialog", "aria-labelledby": `${id}-title` });
  const said = h("p", { class: "field-error", role: "alert" });
  const done = (text) => {
    setKey(text);
    element.close();
    onkey();
  };
  const form = h(
    "form",
    {
      class: "stack",
      onsubmit: (event) => {
        event.preventDefault();
        done(input.value);
      },
    },
    h("h2", { id: `${id}-title` }, "API key"),
    h("p", { class: "muted" }, "This server answers those who have a key. It is kept until this tab is closed."),
    h("div", { class: "field" }, h("label", { for: id }, "Key"), input, said),
    h(
      "div",
      { class: "row row-end" },
      h("button", { type: "button", class: "button button-quiet", onclick: () => element.close() }, "Cancel"),
      h("button", { type: "submit", class: "button button-primary" }, "Use this key"),
    ),
  );
  element.append(form);
  return {
    element,
    /** refused: the key there is was not taken. */
    open({ refused = false } = {}) {
      replace(said, refused && key() && "The server does not know this key.");
      input.value = key();
      if (!element.open) element.showModal();
    },
  };
}
