// Latencies: sliders for what the requests of a model take, where a stand-in answers for it.

import { attempt, byId, el, say, setText, showEach } from "./dom.js";

/** The names of the control API, in words. */
const NAMES = { delay_ms: "Answer", time_to_first_token_ms: "First token", time_per_token_ms: "Each further token" };
const ENDS = { median: "median", p99: "99th percentile" };
/** The milliseconds at the places of a slider: 0, then about a third more with each step, up to a minute. */
const PLACES = [0, 1, 2, 3, 4, 5, 7];
for (const power of [10, 100, 1000]) PLACES.push(...[1, 1.5, 2, 3, 4, 5, 7].map((each) => each * power));
PLACES.push(10_000, 15_000, 20_000, 30_000, 40_000, 50_000, 60_000);

const shown = (ms) => (ms < 1000 ? `${+ms.toFixed(2)} ms` : `${+(ms / 1000).toFixed(3)} s`);
const placeOf = (ms) => PLACES.findLastIndex((each) => each <= ms);

/** The part of the page with latencies. */
export class LatencyPart {
  constructor(ask) {
    this.element = byId("latency");
    this.rows = byId("latencies");
    this.ask = ask;
    /** the latencies whose sliders have been moved and not been let go of */
    this.moving = new Set();
    /** the changes that the server does not have yet, one after the other */
    this.sending = Promise.resolve();
    this.unsent = 0;
  }

  clear() {
    this.moving.clear();
    this.show([]);
    byId("no-latencies").hidden = true;
  }

  async refresh() {
    this.show(await this.ask("GET", "latencies"));
  }

  show(models) {
    byId("no-latencies").hidden = models.length > 0;
    const keyOf = ({ name, version }) => `${name}\n${version}`;
    showEach(this.rows, models, keyOf, (model) => this.makeModel(model), (box, model) => this.update(box, model));
  }

  makeModel(model) {
    const names = Object.keys(NAMES).filter((name) => model[name] || model.measured.includes(name));
    const box = el("fieldset", {}, el("legend", {}, `${model.name} / ${model.version}`));
    for (const name of names) {
      const row = el("div", { class: "row", "data-latency": name }, el("h3", {}, NAMES[name]));
      row.append(...Object.keys(ENDS).map((end) => this.makeSlider(row, model, name, end)));
      box.append(row);
    }
    const restore = async () => {
      this.element.focus(); // the button goes
      await this.send(model, Object.fromEntries(names.map((name) => [name, null])), "as it was loaded");
    };
    const button = { type: "button", hidden: true, onclick: restore, "aria-label": `Restore the latencies of ${model.name}` };
    box.append(el("button", button, "Restore"));
    return box;
  }

  makeSlider(row, model, name, end) {
    const moved = `${model.name}\n${model.version}\n${name}`;
    const letGo = () => {
      if (!this.moving.delete(moved)) return;
      const taken = takenOf(row);
      const rest = taken.p99 === taken.median ? "" : `, ${ENDS.p99} ${shown(taken.p99)}`;
      this.send(model, { [name]: taken }, `${NAMES[name].toLowerCase()} ${shown(taken.median)}${rest}`);
    };
    const slider = el("input", {
      type: "range", min: 0, max: PLACES.length - 1, step: 1, "data-end": end,
      "aria-label": `${model.name}: ${NAMES[name].toLowerCase()}, ${ENDS[end]}`,
      oninput: () => {
        this.moving.add(moved);
        showTaken(row, movedTo(end, PLACES[slider.value], takenOf(row)));
      },
      // a slider that comes back to its place has not changed
      onchange: letGo, onpointerup: letGo, onblur: letGo,
    });
    return el("label", {}, el("span", {}, `${ENDS[end]} `, el("output")), slider);
  }

  /** Let a model take something else, and show what it takes then. */
  send(model, given, words) {
    this.unsent += 1;
    const send = async () => {
      await this.ask("POST", "latencies", { model: model.name, version: model.version, ...given });
      say(`${model.name}: ${words}`);
    };
    this.sending = this.sending.then(async () => {
      await attempt(this.element, send);
      this.unsent -= 1;
      await this.refresh().catch(() => {}); // the page asks again, and tells it
    });
    return this.sending;
  }

  update(box, model) {
    if (this.unsent || this.moving.size) return; // what the server says is older than what the sliders show
    for (const row of box.querySelectorAll("[data-latency]")) showTaken(row, model[row.dataset.latency]);
    box.querySelector("button").hidden = model.changed.length === 0;
  }
}

/** Where one end has been moved to, the other goes along: the median is never above the 99th percentile. */
function movedTo(end, ms, { median, p99 }) {
  if (end === "median") return { median: ms, p99: ms && Math.max(ms, p99) };
  return { median: ms && Math.min(ms, median || ms), p99: ms };
}

const slidersOf = (row) => [...row.querySelectorAll("input")];

/** What the sliders of a latency show, which may lie between two places. */
function takenOf(row) {
  return Object.fromEntries(slidersOf(row).map((slider) => [slider.dataset.end, Number(slider.dataset.ms ?? 0)]));
}

/** Show a latency; null is measured: a distribution for each load, whose place a slider takes that is moved. */
function showTaken(row, taken) {
  for (const slider of slidersOf(row)) {
    const ms = taken?.[slider.dataset.end] ?? 0;
    if (Number(slider.dataset.ms) !== ms) slider.value = placeOf(ms);
    slider.dataset.ms = ms;
    const text = taken ? shown(ms) : "as measured";
    slider.setAttribute("aria-valuetext", text);
    setText(slider.parentElement.querySelector("output"), text);
  }
}
