// The journal: the requests that came, as they come.

import { byId, el, filled, flash, setText, showEach } from "./dom.js";
import { described, elementsOf, tensorTable } from "./tensors.js";

/** Rows that the page keeps. */
const MOST_ROWS = 200;
/** Elements of a request and its answers up to which they are fetched. */
const MOST_ELEMENTS = 100_000;

/** Answers of a stream that are shown. */
const MOST_ANSWERS = 100;

/** The part of the page with the journal. `get` asks for a path of the session. */
export class JournalPart {
  constructor(get) {
    this.element = byId("journal");
    this.get = get;
    this.filters = byId("filters");
    this.filters.addEventListener("submit", (event) => event.preventDefault());
    this.clear();
  }

  /** Begin anew: another session, another filter, or a journal that was reset. */
  clear() {
    this.entries = new Map();
    this.last = 0;
    this.opened = new Map();
    this.dropped = 0;
    this.began = true;
    this.generation = (this.generation ?? 0) + 1;
    this.show();
  }

  /** Fetch what is new. `made` is how many requests the session has at least had. */
  async refresh() {
    const generation = this.generation;
    const open = [...this.entries.values()].filter((entry) => !entry.complete).map((entry) => entry.number);
    const after = Math.min(this.last, ...open.map((number) => number - 1));
    const query = new URLSearchParams({ ...filled(this.filters), after, limit: MOST_ROWS, tensors: "none" });
    const found = await this.get(`requests?${query}`);
    if (generation !== this.generation) return;
    for (const entry of found.requests) {
      const isNew = !this.entries.has(entry.number);
      this.entries.set(entry.number, { ...entry, isNew: isNew && !this.began });
      this.last = Math.max(this.last, entry.number);
    }
    for (const number of [...this.entries.keys()].sort((a, b) => a - b).slice(0, -MOST_ROWS)) {
      this.entries.delete(number);
      this.opened.delete(number);
    }
    this.dropped = found.dropped;
    this.began = false;
    this.show();
  }

  show() {
    const newest = [...this.entries.values()].sort((a, b) => b.number - a.number);
    const rows = newest.flatMap((entry) => (this.opened.has(entry.number) ? [[entry, false], [entry, true]] : [[entry, false]]));
    showEach(
      byId("entries"),
      rows,
      ([entry, isDetail]) => `${this.generation}/${entry.number}/${isDetail}`,
      ([entry, isDetail]) => (isDetail ? this.opened.get(entry.number) : this.makeRow(entry)),
      (row, [entry, isDetail]) => isDetail || this.updateRow(row, entry),
    );
    const dropped = this.dropped ? `, and the journal has forgotten ${this.dropped}` : "";
    const none = newest.length ? "" : "No request has come that fits. ";
    setText(byId("journal-count"), `${none}${newest.length} shown, the newest first${dropped}.`);
  }

  makeRow(entry) {
    const button = el("button", { type: "button", class: "expand", "aria-expanded": "false", onclick: () => this.toggle(entry.number, button) });
    setText(button, `${entry.number}`);
    button.setAttribute("aria-label", `Request ${entry.number}: details`);
    const cells = ["operation", "model", "protocol", "status", "time", "fault"].map((name) =>
      el("td", { class: name === "time" ? "number" : name }),
    );
    const row = el("tr", { "data-number": entry.number }, el("td", {}, button), ...cells);
    if (entry.isNew) requestAnimationFrame(() => flash(row));
    return row;
  }

  updateRow(row, entry) {
    const [, operation, model, protocol, status, time, fault] = row.cells;
    setText(operation, entry.operation);
    setText(model, entry.model + (entry.version ? ` / ${entry.version}` : ""));
    setText(protocol, entry.protocol);
    setText(status, entry.status === null ? "no answer" : entry.status);
    status.classList.toggle("bad", entry.error !== null || ![200, "OK", null].includes(entry.status));
    setText(time, entry.complete ? duration(entry.seconds) : "running");
    const met = [entry.plan && `plan ${entry.plan}`, entry.stub && `stub ${entry.stub}`, entry.exception && "exception"];
    setText(fault, met.filter(Boolean).join(", "));
    row.title = (entry.inputs ?? []).map(described).join("\n");
    const detail = this.opened.get(entry.number);
    if (detail && entry.complete && detail.dataset.complete !== "true") this.fill(detail, entry);
  }

  toggle(number, button) {
    const wasOpen = this.opened.delete(number);
    button.setAttribute("aria-expanded", String(!wasOpen));
    if (!wasOpen) {
      const detail = el("tr", { class: "detail", "data-detail-of": number }, el("td", { colspan: 7 }, "…"));
      this.opened.set(number, detail);
      this.fill(detail, this.entries.get(number));
    }
    this.show();
  }

  async fill(detail, known) {
    detail.dataset.complete = String(known.complete);
    const tensors = [...(known.inputs ?? []), ...(known.answers ?? []).flatMap((answer) => answer.outputs)];
    const elements = tensors.reduce((sum, tensor) => sum + elementsOf(tensor.shape), 0);
    const form = elements > MOST_ELEMENTS ? "none" : "data";
    let content;
    try {
      content = details(await this.get(`requests/${known.number}?tensors=${form}`));
    } catch (fault) {
      content = [el("p", { class: "trouble" }, fault.message)];
    }
    detail.cells[0].replaceChildren(...content);
  }
}

const duration = (seconds) => (seconds < 1 ? `${(seconds * 1000).toFixed(1)} ms` : `${seconds.toFixed(2)} s`);

/** What the API tells about one request. */
function details(entry) {
  const facts = [
    ["Target", entry.target],
    ["Id", entry.id],
    ["Parameters", entry.parameters && Object.keys(entry.parameters).length ? JSON.stringify(entry.parameters) : null],
    ["Outputs asked for", entry.requested_outputs?.join(", ")],
    ["Error", entry.error],
    ["Cannot be read", entry.undecodable],
    ["Fault", entry.fault],
    ["Exception", entry.exception],
    ["Upstream", entry.upstream_error],
    ["Queued", entry.queue_seconds === null ? null : duration(entry.queue_seconds)],
    ["Computed", entry.compute_seconds === null ? null : duration(entry.compute_seconds)],
    ["Events", entry.events.length > 1 ? `${entry.events.length}, the last after ${duration(entry.events.at(-1).seconds)}` : null],
    ["Kept", entry.truncated ? "not all of its bytes" : null],
  ].filter(([, value]) => value);
  return [
    el("dl", {}, ...facts.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])),
    entry.inputs?.length ? tensorTable("Inputs", entry.inputs) : null,
    ...answersOf(entry.answers ?? []),
    el(
      "details",
      {},
      el("summary", {}, "Headers"),
      el("dl", {}, ...Object.entries(entry.headers).flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])),
    ),
  ].filter((each) => each !== null);
}

/** The outputs of an answer, or those of a stream's answers in one table, with the numbers of the answers. */
function answersOf(answers) {
  const many = answers.length > 1;
  const numbered = answers.slice(0, MOST_ANSWERS).flatMap(({ outputs }, at) =>
    outputs.map((output) => (many ? { ...output, name: `${at + 1}: ${output.name}` } : output)),
  );
  const errors = answers.map(({ error }, at) => error && el("p", { class: "bad" }, many ? `Answer ${at + 1}: ${error}` : error));
  return [
    numbered.length ? tensorTable(many ? `Outputs of ${answers.length} answers` : "Outputs", numbered) : null,
    answers.length > MOST_ANSWERS ? el("p", { class: "quiet" }, `The first ${MOST_ANSWERS} answers are shown.`) : null,
    ...errors.filter(Boolean),
  ];
}
