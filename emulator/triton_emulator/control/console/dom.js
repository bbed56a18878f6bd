// Elements, texts and rows. Every text becomes a text node: nothing that a server says is read as HTML.

/** The element with an id. */
export const byId = (id) => document.getElementById(id);

/** An element with attributes, listeners (`onclick`), and children, which are elements or texts. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  element.append(...children.filter((child) => child !== null && child !== undefined).map(asChild));
  return element;
}

const asChild = (child) => (child instanceof Node ? child : String(child));

/** Set an element's text, if it is another one: a screen reader and a selection are not disturbed. */
export function setText(element, text) {
  if (element.textContent !== String(text)) element.textContent = text;
}

/** Say something to those who do not see it happen. */
export function say(text) {
  byId("said").textContent = text;
}

/** Show why something was refused in the part of the page that it belongs to; null takes it away. */
export function showTrouble(part, text) {
  const place = part.querySelector(".trouble");
  place.hidden = text === null;
  setText(place, text ?? "");
}

const rowsOf = new WeakMap();

/**
 * Show one child of `parent` for each item, in the order of the items.
 * A child stays the same element while its key is there, so that it keeps its focus.
 */
export function showEach(parent, items, keyOf, make, update) {
  const before = rowsOf.get(parent) ?? new Map();
  const after = new Map();
  for (const item of items) {
    const key = keyOf(item);
    const element = before.get(key) ?? make(item);
    update(element, item);
    after.set(key, element);
  }
  for (const [key, element] of before) if (!after.has(key)) element.remove();
  let place = parent.firstChild;
  for (const element of after.values()) {
    if (element === place) place = place.nextSibling;
    else parent.insertBefore(element, place);
  }
  rowsOf.set(parent, after);
}

/** Set the options of a select or a datalist, and keep what is chosen where it is still there. */
export function setOptions(select, options) {
  const wanted = JSON.stringify(options);
  if (select.dataset.options === wanted) return;
  const chosen = select.options.length ? select.value : undefined;
  select.dataset.options = wanted;
  select.replaceChildren(...options.map(([value, text]) => el("option", { value }, text)));
  if (options.some(([value]) => value === chosen)) select.value = chosen;
}

/** Let a row be seen for a moment, unless the person wants no motion. */
export function flash(element) {
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  const colour = getComputedStyle(document.documentElement).getPropertyValue("--flash");
  element.animate([{ backgroundColor: colour }, { backgroundColor: "transparent" }], 1500);
}

/** What a form holds, without the fields that are empty. */
export function filled(form) {
  return Object.fromEntries([...new FormData(form)].filter(([, value]) => value.trim() !== ""));
}

/**
 * Do something when a form is sent. A refusal is shown beside the form, and the field that it names is marked.
 */
export function onSubmit(form, part, act) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    await attempt(part, () => act(filled(form)), form);
  });
}

/** Do something, and show its refusal in a part of the page. */
export async function attempt(part, act, form = null) {
  const fields = form ? [...form.elements] : [];
  for (const field of fields) field.removeAttribute("aria-invalid");
  try {
    await act();
    showTrouble(part, null);
  } catch (fault) {
    showTrouble(part, fault.message);
    const named = fields.find((field) => field.name && field.name === fault.field?.split(/[.[]/)[0]);
    named?.setAttribute("aria-invalid", "true");
    named?.focus();
  }
}
