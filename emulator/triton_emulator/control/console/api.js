// The control API, as this page's own port has it.

import { byId, showTrouble } from "./dom.js";

const KEPT = "triton-emulator-control-token";

/** What the control API refuses; `field` is the field of the body that means nothing. */
export class Refusal extends Error {
  constructor(status, error, field) {
    super(error);
    this.status = status;
    this.field = field;
  }
}

/** Read JSON. A whole number that a double does not hold is a text with its digits. */
export function readJson(text) {
  return JSON.parse(text, (key, value, context) => {
    const isInexact = typeof value === "number" && !Number.isSafeInteger(value) && /^-?\d+$/.test(context?.source);
    return isInexact ? context.source : value;
  });
}

/** Ask the control API; the answer is its JSON, or null where it has none. Throws Refusal. */
export async function ask(method, path, body) {
  for (;;) {
    const token = sessionStorage.getItem(KEPT);
    const headers = { ...(body && { "Content-Type": "application/json" }), ...(token && { Authorization: `Bearer ${token}` }) };
    const answer = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
    const text = await answer.text();
    if (answer.ok) return text ? readJson(text) : null;
    if (answer.status === 401) {
      await askForToken(token);
      continue;
    }
    throw refusalOf(answer.status, text);
  }
}

function refusalOf(status, text) {
  try {
    const { error, field } = JSON.parse(text);
    return new Refusal(status, error, field);
  } catch {
    return new Refusal(status, `the control API answered ${status}`, null);
  }
}

let asking = null;

/** Ask the person for the token, once for all requests that need it. `refused` is the one that was not right. */
function askForToken(refused) {
  if (sessionStorage.getItem(KEPT) !== refused) return Promise.resolve(); // another request has it by now
  asking ??= new Promise((done) => {
    const dialog = byId("ask-token");
    const form = dialog.querySelector("form");
    showTrouble(dialog, refused === null ? null : "That is not the token.");
    const keep = (event) => {
      event.preventDefault();
      sessionStorage.setItem(KEPT, new FormData(form).get("token").trim());
      form.reset();
      form.removeEventListener("submit", keep);
      dialog.close();
      asking = null;
      done();
    };
    form.addEventListener("submit", keep);
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    dialog.showModal();
  });
  return asking;
}
