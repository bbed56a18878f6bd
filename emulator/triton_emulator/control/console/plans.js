// Plans and stubs: what is to happen to requests, and whether it has.

import { attempt, byId, el, flash, onSubmit, say, setText, showEach } from "./dom.js";

const FROM_A_FILE = "from a file or a flag";
const NUMBERS = ["times", "after", "probability"];

/** What a plan or a stub is for, in words. */
function criteria({ operation, model, version, protocol, headers }) {
  const named = Object.entries(headers).map(([name, value]) => (value === null ? name : `${name}: ${value}`));
  const parts = [operation, model && `model ${model}`, version && `version ${version}`, protocol, ...named];
  return parts.filter(Boolean).join(", ") || "any request";
}

/** What is common to both: a form, a table, and a button in each row that removes it. */
class Armed {
  constructor(part, rows, form, path, ask, changed) {
    this.element = byId(part);
    this.rows = byId(rows);
    this.path = path;
    this.ask = ask;
    this.changed = changed;
    this.counts = new Map();
    onSubmit(byId(form), this.element, async (given) => {
      const made = await ask("POST", path, this.bodyOf(given));
      say(`${this.name} ${made.number} is set`);
      await changed();
    });
  }

  clear() {
    this.counts = new Map();
    this.show([]);
  }

  async refresh() {
    this.show(await this.ask("GET", this.path));
  }

  show(items) {
    showEach(
      this.rows,
      items,
      (item) => item.number,
      (item) => this.makeRow(item),
      (row, item) => this.update(row, item),
    );
  }

  makeRow(item) {
    const remove = () =>
      attempt(this.element, async () => {
        await this.ask("DELETE", `${this.path}/${item.number}`);
        say(`${this.name} ${item.number} is removed`);
        await this.changed();
        this.element.focus();
      });
    const label = `${this.verb} ${this.name.toLowerCase()} ${item.number}`;
    const button = el("button", { type: "button", "aria-label": label, onclick: remove }, this.verb);
    return el("tr", { "data-number": item.number }, el("th", { scope: "row" }, item.number), ...this.cells(), el("td", {}, button));
  }

  update(row, item) {
    const texts = this.texts(item);
    texts.forEach((text, at) => setText(row.cells[at + 1], text));
    const count = this.countOf(item);
    if (count > this.counts.get(item.number)) {
      flash(row);
      say(`${this.name} ${item.number}: ${texts[this.counted]}`);
    }
    this.counts.set(item.number, count);
  }
}

/** The part of the page with plans. */
export class PlansPart extends Armed {
  name = "Plan";
  verb = "Disarm";
  counted = 2;

  constructor(ask, changed) {
    super("plans", "plan-rows", "arm", "plans", ask, changed);
  }

  bodyOf(given) {
    const numbers = NUMBERS.filter((name) => name in given).map((name) => [name, Number(given[name])]);
    return { times: null, ...given, ...Object.fromEntries(numbers) };
  }

  cells = () => [el("td", { class: "code" }), el("td"), el("td", { class: "fired" }), el("td", { class: "quiet" })];

  countOf = (plan) => plan.fired;

  texts(plan) {
    const limits = [plan.after && `after ${plan.after}`, plan.probability && `probability ${plan.probability}`];
    const forWhom = [criteria(plan), ...limits].filter(Boolean).join(", ");
    const times = plan.times === null ? `${plan.fired} times, for ever` : `${plan.fired} of ${plan.times}`;
    const underWay = plan.fired - plan.completed;
    const remarks = [plan.standing && FROM_A_FILE, underWay && `${underWay} not complete`];
    return [plan.fault.replace(/\bfault\./g, ""), forWhom, times, remarks.filter(Boolean).join("; ")];
  }
}

/** The part of the page with stubs. */
export class StubsPart extends Armed {
  name = "Stub";
  verb = "Remove";
  counted = 1;

  constructor(ask, changed) {
    super("stubs", "stub-rows", "stub", "stubs", ask, changed);
  }

  bodyOf({ kind, answer, inputs, ...given }) {
    const respond = kind === "text" ? { text: answer ?? "" } : { outputs: read("outputs", answer ?? "") };
    return { ...given, ...(inputs && { inputs: read("inputs", inputs) }), respond };
  }

  cells = () => [el("td", { class: "code" }), el("td", { class: "fired" }), el("td", { class: "quiet" })];

  countOf = (stub) => stub.used;

  texts(stub) {
    return [stub.text, stub.replies > 1 ? `${stub.used}, of ${stub.replies} answers` : `${stub.used}`, stub.standing ? FROM_A_FILE : ""];
  }
}

function read(what, text) {
  try {
    return JSON.parse(text);
  } catch (fault) {
    throw Object.assign(new Error(`the ${what} are no JSON: ${fault.message}`), { field: what });
  }
}
