// The server's interface: JSON in and out, requests that can be aborted, the key of a person who has one, and
// problem details (RFC 9457) as errors that can be read.

const KEY = "shortlist-key";

/** What went wrong. status 0: the server was not reached. pointer: the path of the field that is to blame. */
export class ApiError extends Error {
  constructor({ status, title, detail = "", pointer = null, hint = "", request_id = "", retryAfter = 0 }) {
    super(detail || title);
    Object.assign(this, { name: "ApiError", status, title, detail, pointer, hint, retryAfter });
    this.requestId = request_id;
  }
}

/** GET a path below `/`. params: what stands behind `?`; lists repeat; empty values are left out. */
export function get(path, params = {}, { signal } = {}) {
  const address = new URL(path.replace(/^\//, ""), document.baseURI.split("#")[0]);
  for (const [name, value] of Object.entries(params)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== null && one !== "") address.searchParams.append(name, one);
    }
  }
  return send(address, { signal });
}

/** POST a JSON body. */
export function post(path, body, { signal } = {}) {
  const address = new URL(path.replace(/^\//, ""), document.baseURI.split("#")[0]);
  return send(address, { signal, method: "POST", body: JSON.stringify(body) });
}

/** An id as one step of a path, whatever characters it has. */
export function identity(id) {
  return encodeURIComponent(id);
}

/**
 * One request at a time: `run(signal => get(...))` aborts the one before it, which then resolves to `undefined`.
 * outer: a signal that ends them all.
 */
export function latest(outer) {
  let current = null;
  outer?.addEventListener("abort", () => current?.abort());
  return async (ask) => {
    current?.abort();
    const own = new AbortController();
    current = own;
    try {
      const answer = await ask(own.signal);
      return own.signal.aborted || outer?.aborted ? undefined : answer;
    } catch (error) {
      if (own.signal.aborted || outer?.aborted) return undefined;
      throw error;
    }
  };
}

/** The key that requests carry; it is forgotten when the tab is closed. */
export function key() {
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return memory;
  }
}

/** Take a key into use; "" forgets it. */
export function setKey(text) {
  memory = text.trim();
  try {
    if (memory) sessionStorage.setItem(KEY, memory);
    else sessionStorage.removeItem(KEY);
  } catch {
    // Storage is forbidden: the key lasts as long as the page.
  }
}

let memory = "";

async function send(address, { signal, method = "GET", body }) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (key()) headers["X-API-Key"] = key();
  let answer;
  try {
    answer = await fetch(address, { method, headers, body, signal, credentials: "same-origin" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError({
      status: 0,
      title: "No connection",
      detail: "The server cannot be reached.",
      hint: "See whether shortlist serve is still running.",
    });
  }
  if (answer.ok) return answer.json();
  const problem = await readProblem(answer);
  if (answer.status === 401) window.dispatchEvent(new CustomEvent("keyneeded"));
  throw problem;
}

async function readProblem(answer) {
  const told = { status: answer.status, title: answer.statusText || `Status ${answer.status}` };
  told.retryAfter = Number(answer.headers.get("Retry-After")) || 0;
  try {
    Object.assign(told, await answer.json());
  } catch {
    told.detail = "The answer could not be read.";
  }
  return new ApiError(told);
}
