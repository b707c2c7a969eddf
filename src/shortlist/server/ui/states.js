// The states a part of a panel can be in: loading, empty, error, ready. Each takes about the room of what follows,
// so that nothing jumps; `data-state` says which it is, to style sheets and tests.

import { focusOn, h, replace } from "./dom.js";

/**
 * Manage what an element shows. name: what is loaded, for those who hear the page ("items").
 * Returns `loading`, `empty`, `error`, `show`; each replaces what was there.
 */
export function stateful(element, name) {
  const enter = (state, ...children) => {
    element.dataset.state = state;
    element.setAttribute("aria-busy", String(state === "loading"));
    const within = element.contains(document.activeElement);
    replace(element, ...children);
    if (within) focusOn(element); // "Try again" is gone, and whoever pressed it goes on from here
    return element;
  };
  return {
    element,
    get state() {
      return element.dataset.state;
    },

    /** Grey lines where content will be. Where content stands already, it stays and is dimmed. */
    loading({ rows = 4, keep = true } = {}) {
      if (keep && element.dataset.state === "ready") {
        element.dataset.state = "loading";
        element.setAttribute("aria-busy", "true");
        return element;
      }
      const lines = Array.from({ length: rows }, () => h("div", { class: "skeleton" }));
      return enter("loading", h("p", { class: "visually-hidden" }, `Loading ${name}`), lines);
    },

    /** Nothing to show, and what to do about it. */
    empty(title, text, ...actions) {
      return enter(
        "empty",
        h(
          "div",
          { class: "state" },
          h("p", { class: "state-title" }, title),
          text && h("p", { class: "state-text" }, text),
          actions.length > 0 && h("div", { class: "row state-actions" }, actions),
        ),
      );
    },

    /** What went wrong, as the server says it; retry: asks again. */
    error(error, retry) {
      if (!error.status && error.name !== "ApiError") console.error(error);
      return enter(
        "error",
        h(
          "div",
          { class: "state state-bad", role: "alert" },
          h("p", { class: "state-title" }, error.title ?? "This could not be shown"),
          h("p", { class: "state-text" }, error.message),
          error.hint && h("p", { class: "state-text muted" }, error.hint),
          error.requestId && h("p", { class: "state-text muted small" }, `Request ${error.requestId}`),
          retry && h("div", { class: "row state-actions" }, h("button", { type: "button", class: "button", onclick: retry }, "Try again")),
        ),
      );
    },

    /** The content. */
    show(...nodes) {
      return enter("ready", ...nodes);
    },
  };
}
