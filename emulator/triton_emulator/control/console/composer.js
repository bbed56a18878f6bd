// Models with their states, and a request to one of them, with a form made from its metadata.

import { readJson } from "./api.js";
import { attempt, byId, el, say, setOptions, setText, showEach } from "./dom.js";
import { base64, elementTexts, firstElements, firstShape, halfFloats, isBinary, readShape, tensorTable } from "./tensors.js";

/** The choice of a model that the page has no metadata of. */
const OTHER = "";

/** The parts of the page with models and the composer. */
export class ComposerPart {
  constructor(ask, changed) {
    this.element = byId("models");
    this.part = byId("composer");
    this.ask = ask;
    this.changed = changed;
    this.form = byId("compose");
    this.fields = this.form.elements;
    this.clear();
    this.fields.model.addEventListener("change", () => this.makeInputs());
    this.fields.operation.addEventListener("change", () => this.showOwnBody());
    this.fields.own.addEventListener("change", () => this.showOwnBody());
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      attempt(this.part, () => this.send(), this.form);
    });
  }

  clear() {
    this.models = [];
    this.madeFor = null;
  }

  async refresh() {
    try {
      this.show(await this.ask("GET", "models"));
    } catch (fault) {
      this.show([]); // a model can still be named
      throw fault;
    }
  }

  show(models) {
    this.models = models;
    showEach(
      byId("model-rows"),
      this.models,
      (model) => keyOf(model),
      (model) => this.makeRow(model),
      updateRow,
    );
    const ready = this.models.filter((model) => model.inputs);
    setOptions(byId("model-names"), [...new Set(this.models.map((model) => model.name))].map((name) => [name, name]));
    setOptions(this.fields.model, [...ready.map((model) => [keyOf(model), titleOf(model, ready)]), [OTHER, "another model …"]]);
    this.makeInputs();
  }

  makeRow(model) {
    const compose = () => {
      this.fields.model.value = keyOf(model);
      this.makeInputs();
      this.part.scrollIntoView({ block: "nearest" });
      (byId("inputs").querySelector("textarea") ?? this.fields.model).focus();
    };
    const button = el("button", { type: "button", "aria-label": `Send a request to ${model.name}`, onclick: compose }, "Send …");
    const name = el("th", { scope: "row" }, model.name, el("span", { class: "quiet platform" }));
    return el("tr", {}, name, el("td"), el("td", { class: "state" }), el("td", {}, button));
  }

  chosen() {
    return this.models.find((model) => model.inputs && keyOf(model) === this.fields.model.value) ?? null;
  }

  /** The fields of the chosen model's inputs. They stay while its metadata is the same. */
  makeInputs() {
    const model = this.chosen();
    const made = JSON.stringify([this.fields.model.value, model?.inputs]);
    if (made === this.madeFor) return;
    this.madeFor = made;
    byId("inputs").replaceChildren(...(model ? model.inputs.map(inputFields) : [otherModel()]));
    this.fields.own.checked = !model;
    this.fields.own.disabled = !model;
    // over HTTP a model that answers any number of times has only the stream
    this.fields.operation.value = model?.decoupled ? "generate_stream" : "infer";
    this.showOwnBody();
  }

  showOwnBody() {
    const own = this.fields.own.checked;
    const model = this.chosen();
    byId("own-body").hidden = !own;
    this.fields.parameters.closest("label").hidden = own;
    for (const set of byId("inputs").querySelectorAll("fieldset")) set.hidden = own;
    if (own && model && !this.fields.body.value) {
      try {
        this.fields.body.value = this.request().body;
      } catch {
        this.fields.body.value = "{}";
      }
    }
    if (!own && model) this.fields.body.value = "";
  }

  /**
   * What the form means: `body`, a text of JSON, and `binary`, in base64 what follows it.
   * The text is written and not serialised: whole numbers of 64 bits are exact. JSON has no form for half floats.
   */
  request() {
    const inputs = [...byId("inputs").querySelectorAll("fieldset")].filter((set) => set.querySelector("[data-sent]").checked);
    const read = inputs.map((set) => {
      const [name, datatype] = [set.dataset.name, set.dataset.datatype];
      const shape = readShape(name, set.querySelector("[data-shape]").value);
      return { name, datatype, shape, texts: elementTexts(name, datatype, shape, set.querySelector("[data-elements]").value) };
    });
    const parameters = readParameters(this.fields.parameters.value.trim());
    if (this.fields.operation.value === "infer") {
      const binaries = [];
      const written = read.map(({ name, datatype, shape, texts }) => {
        const bytes = isBinary(datatype) ? halfFloats(datatype, texts) : null;
        if (bytes) binaries.push(bytes);
        const content = bytes ? `"parameters": {"binary_data_size": ${bytes.length}}` : `"data": [${texts.join(", ")}]`;
        return `{"name": ${JSON.stringify(name)}, "datatype": "${datatype}", "shape": [${shape.join(", ")}], ${content}}`;
      });
      const members = [`"inputs": [${written.join(", ")}]`];
      const outputs = this.chosen().outputs;
      if (outputs.some(({ datatype }) => isBinary(datatype))) members.push(`"outputs": [${outputs.map(asked).join(", ")}]`);
      if (parameters) members.push(`"parameters": ${parameters}`);
      return { body: `{${members.join(", ")}}`, binary: base64(binaries) };
    }
    const members = read.map(({ name, texts }) => `${JSON.stringify(name)}: ${texts.length === 1 ? texts[0] : `[${texts.join(", ")}]`}`);
    if (parameters && parameters !== "{}") members.push(parameters.slice(1, -1).trim());
    return { body: `{${members.join(", ")}}`, binary: "" };
  }

  async send() {
    const model = this.chosen();
    const other = byId("inputs").querySelector("[name=other]")?.value.trim();
    const sent = {
      model: model ? model.name : other,
      version: model ? String(model.version) : "",
      operation: this.fields.operation.value,
      ...(this.fields.own.checked ? { body: this.fields.body.value } : this.request()),
      timeout: Number(this.fields.timeout.value) || 60,
    };
    const place = byId("answer");
    place.hidden = false;
    place.setAttribute("aria-busy", "true");
    try {
      const answer = await this.ask("POST", "send", sent);
      place.replaceChildren(...answerOf(answer, sent.body));
      say(answer.status === null ? `No answer: ${answer.error}` : `Answer ${answer.status}`);
    } finally {
      place.removeAttribute("aria-busy");
    }
    await this.changed();
  }
}

const keyOf = ({ name, version }) => `${name}\n${version}`;

const titleOf = (model, all) =>
  all.some((other) => other.name === model.name && other.version !== model.version) ? `${model.name}, version ${model.version}` : model.name;

function updateRow(row, model) {
  const [name, version, state, action] = row.cells;
  setText(name.querySelector(".platform"), model.platform ? ` ${model.platform}` : "");
  setText(version, model.version ?? "–");
  setText(state, [model.state ?? "not loaded", model.reason].filter(Boolean).join(": "));
  state.classList.toggle("good", model.state === "READY");
  state.classList.toggle("bad", model.state === "UNAVAILABLE" && model.reason !== "unloaded");
  action.firstChild.hidden = model.inputs === null;
}

const asked = ({ name, datatype }) =>
  `{"name": ${JSON.stringify(name)}, "parameters": {"binary_data": ${isBinary(datatype)}}}`;

function inputFields(input) {
  const shape = firstShape(input.shape);
  const rows = input.datatype === "BYTES" ? Math.min(shape.reduce((a, b) => a * b, 1), 4) : 2;
  const hint = input.datatype === "BYTES" ? "one element a line" : "spaces between, or one for all";
  const sent = el("input", { type: "checkbox", "data-sent": true, checked: !input.optional });
  return el(
    "fieldset",
    { "data-name": input.name, "data-datatype": input.datatype },
    el("legend", {}, `${input.name} `, el("span", { class: "quiet" }, `${input.datatype} [${input.shape.join(", ")}]`)),
    el("div", { class: "row" },
      el("label", { class: "grow" }, `Elements, ${hint}`,
        el("textarea", { "data-elements": true, rows, spellcheck: "false" }, firstElements(input.datatype, input.shape))),
      el("label", { class: "small" }, "Shape", el("input", { "data-shape": true, value: shape.join(", "), autocomplete: "off" })),
    ),
    el("label", { class: "check" }, sent, input.optional ? " Send this optional input" : " Send this input"),
  );
}

function otherModel() {
  return el("label", {}, "Name of the model", el("input", { name: "other", required: true, autocomplete: "off" }));
}

/** The text of an object of JSON, or "" without one. Throws an Error for another text. */
function readParameters(text) {
  if (!text) return "";
  let value = null;
  try {
    value = JSON.parse(text);
  } catch (fault) {
    throw Object.assign(new Error(`the parameters are no JSON: ${fault.message}`), { field: "parameters" });
  }
  if (value === null || typeof value !== "object" || Array.isArray(value)) {
    throw Object.assign(new Error('the parameters are an object, such as {"max_tokens": 16}'), { field: "parameters" });
  }
  return text;
}

function answerOf(answer, sent) {
  const good = answer.status === 200 && answer.error === null;
  const status = answer.status === null ? "No answer" : `Status ${answer.status}`;
  const head = el("p", { class: good ? "good" : "bad" }, `${status}, ${(answer.seconds * 1000).toFixed(1)} ms`);
  const text = answer.headers["Inference-Header-Content-Length"]
    ? "The answer has tensors in binary. The journal shows them."
    : answer.body ?? `base64: ${answer.base64}`;
  const fault = answer.error && el("p", { class: "bad" }, answer.error);
  let outputs = null;
  try {
    outputs = readJson(text).outputs ?? null;
  } catch {
    // no JSON: an event stream, or what a fault has left
  }
  const whole = el("pre", { tabindex: 0 }, text.length > 20_000 ? `${text.slice(0, 20_000)} …` : text);
  const content = Array.isArray(outputs)
    ? [tensorTable("Outputs", outputs), el("details", {}, el("summary", {}, "Body"), whole)]
    : [whole];
  const asked = el("details", {}, el("summary", {}, "What was sent"), el("pre", { tabindex: 0 }, sent.length > 20_000 ? `${sent.slice(0, 20_000)} …` : sent));
  return [head, fault, ...content, asked].filter(Boolean);
}
