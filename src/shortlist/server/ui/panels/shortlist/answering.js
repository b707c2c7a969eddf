// Which bundle answers: the one that was chosen, or where the server divides users among two, the user's own. Cards
// are made for one bundle, whose columns, scales and weights they show; for another they are made anew.

import { latest, post } from "../../api.js";
import { stateful } from "../../states.js";

/** Show `page(context)`, an element, for the bundle that answers, and again whenever another one does. */
export async function followBundle(element, context, page) {
  const view = stateful(element, "the shortlist");
  const ask = latest(context.signal);
  let [shown, chosen] = [null, ""];
  let leave = () => {};

  async function follow() {
    const bundle = await answering(context, ask);
    const { side } = context.state;
    if (bundle === undefined || context.signal.aborted || (bundle === shown && side === chosen)) return;
    const typing = element.contains(document.activeElement) && document.activeElement.closest(".who") !== null;
    leave();
    [shown, chosen] = [bundle, side];
    const own = within(context, bundle);
    leave = own.leave;
    view.show(page(own.inner));
    if (typing) element.querySelector(".who input").focus();
  }

  context.subscribe((_, changed) => {
    if (changed.has("side") || changed.has("user")) follow();
  });
  view.loading({ rows: 8 });
  await follow();
}

/** The bundle's row; undefined where the question was overtaken by another. */
async function answering(context, ask) {
  const { side, user } = context.state;
  if (side || context.bundles.length < 2) return context.bundle();
  try {
    const found = await ask((signal) => post("v1/recommend", { ...(user && { user_id: user }), k: 1, shown: false }, { signal }));
    return found && context.bundles.find((one) => one.side === found.variant);
  } catch {
    return context.bundle(); // the cards ask again, and say what is wrong
  }
}

/** A context that lasts as long as a bundle answers. */
function within(context, bundle) {
  const own = new AbortController();
  context.signal.addEventListener("abort", () => own.abort(), { once: true, signal: own.signal });
  const subscribe = (listener) => {
    const stop = context.subscribe((state, changed) => {
      if (!own.signal.aborted) listener(state, changed);
    });
    own.signal.addEventListener("abort", stop, { once: true });
    return stop;
  };
  const inner = Object.create(context, {
    signal: { value: own.signal },
    bundle: { value: () => bundle },
    subscribe: { value: subscribe },
  });
  return { inner, leave: () => own.abort() };
}
