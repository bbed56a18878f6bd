// The console: a page over the control API of a triton-emulator. It asks every second while somebody can see it.

import { ask, Refusal } from "./api.js";
import { ComposerPart } from "./composer.js";
import { attempt, byId, el, onSubmit, say, setOptions, setText, showEach, showTrouble } from "./dom.js";
import { JournalPart } from "./journal.js";
import { LatencyPart } from "./latency.js";
import { PlansPart, StubsPart } from "./plans.js";

const PERIOD_MS = 1000;
let session = "root";
let sessions = [];

const ofSession = (method, path, body) => ask(method, `/sessions/${encodeURIComponent(session)}/${path}`, body);

const journal = new JournalPart((path) => ofSession("GET", path));
const composer = new ComposerPart(ofSession, refresh);
const parts = [journal, new PlansPart(ofSession, refresh), new StubsPart(ofSession, refresh), composer, new LatencyPart(ofSession), { element: byId("clock"), refresh: showClock, clear() {} }];

// --- what is asked again and again ---

let running = null;
let again = false;

/** Ask for everything once; who calls while it runs waits for one more round. */
function refresh() {
  if (running) {
    again = true;
    return running;
  }
  running = (async () => {
    do {
      again = false;
      await round();
    } while (again);
  })().finally(() => (running = null));
  return running;
}

async function round() {
  try {
    await showSessions();
    for (const part of parts) await refreshPart(part);
    setText(byId("connection"), "Connected");
    byId("connection").className = "good";
  } catch (fault) {
    setText(byId("connection"), fault instanceof Refusal ? fault.message : "The emulator does not answer");
    byId("connection").className = "bad";
  }
}

async function refreshPart(part) {
  const asked = session;
  try {
    await part.refresh();
    if (part.refused) showTrouble(part.element, null);
    part.refused = false;
  } catch (fault) {
    if (!(fault instanceof Refusal)) throw fault;
    if (asked !== session) return;
    part.refused = true;
    showTrouble(part.element, fault.message);
  }
}

async function loop() {
  for (;;) {
    if (!document.hidden) await refresh();
    await new Promise((next) => setTimeout(next, PERIOD_MS));
  }
}

// --- sessions ---

function choose(id) {
  if (id === session) return;
  session = id;
  byId("session").value = id;
  for (const part of parts) part.clear();
  byId("findings").replaceChildren();
  say(`Session ${id}`);
  refresh();
}

async function showSessions() {
  const seen = journal.last;
  sessions = await ask("GET", "/sessions");
  if (!sessions.some(({ id }) => id === session)) choose("root");
  setOptions(byId("session"), sessions.map(({ id }) => [id, id === "root" ? "root, the emulator itself" : id]));
  byId("session").value = session;
  const own = sessions.find(({ id }) => id === session);
  setText(byId("address"), [own.http_url, own.grpc_url && `gRPC ${own.grpc_url}`].filter(Boolean).join(", "));
  // numbers begin anew with a reset
  if (own.requests + journal.dropped < seen) journal.clear();
  showEach(byId("session-rows"), sessions, ({ id }) => id, sessionRow, (row, { id, models, requests }) => {
    setText(row.cells[1], models);
    setText(row.cells[2], requests);
    row.querySelector(".choose").setAttribute("aria-pressed", String(id === session));
  });
}

function sessionRow({ id }) {
  const close = () =>
    attempt(byId("sessions"), async () => {
      await ask("DELETE", `/sessions/${encodeURIComponent(id)}`);
      say(`Session ${id} is closed`);
      await refresh();
      byId("sessions").focus();
    });
  const button = id === "root" ? "" : el("button", { type: "button", "aria-label": `Close session ${id}`, onclick: close }, "Close");
  const name = el("button", { type: "button", class: "choose", onclick: () => choose(id) }, id);
  return el("tr", {}, el("th", { scope: "row" }, name), el("td", { class: "number" }), el("td", { class: "number" }), el("td", {}, button));
}

byId("session").addEventListener("change", (event) => choose(event.target.value));

onSubmit(byId("open-session"), byId("sessions"), async ({ load_models: names, ...given }) => {
  const load = names && { load_models: names.split(/[\s,]+/).filter(Boolean) };
  const opened = await ask("POST", "/sessions", { ...given, ...load });
  choose(opened.id);
  await refresh();
});

byId("forget").addEventListener("click", () =>
  attempt(journal.element, async () => {
    await ofSession("POST", "reset");
    for (const part of parts) part.clear();
    byId("findings").replaceChildren();
    say("Requests, plans and stubs are forgotten");
    await refresh();
  }),
);

// --- the journal's filters ---

byId("filters").addEventListener("input", () => {
  journal.clear();
  refresh();
});
byId("filters").addEventListener("reset", () => setTimeout(() => {
  journal.clear();
  refresh();
}));

// --- the verdict ---

byId("judge").addEventListener("click", () =>
  attempt(byId("verdict"), async () => {
    const [verdict, { problems }] = [await ofSession("GET", "verdict"), await ofSession("GET", "problems")];
    byId("findings").replaceChildren(...judgement(verdict, problems));
    say(`${verdict.findings.length} findings, ${problems.length} problems`);
  }),
);

function judgement({ findings, not_judged: notJudged }, problems) {
  const rules = Object.entries(notJudged).map(([rule, reason]) => el("li", {}, `${rule}: ${reason}`));
  return [
    el("h3", {}, "The client"),
    findings.length
      ? el("ul", {}, ...findings.map(({ rule, level, client, requests, text }) =>
          el("li", {}, el("strong", { class: level }, `${level}, ${rule}: `), text, el("span", { class: "quiet" }, ` Requests ${requests.join(", ")}${client ? `; ${client}` : ""}`))))
      : el("p", { class: "good" }, "Nothing was found."),
    el("h3", {}, "A test would fail for"),
    problems.length ? el("ul", {}, ...problems.map((problem) => el("li", {}, problem))) : el("p", { class: "good" }, "Nothing."),
    rules.length ? el("details", {}, el("summary", {}, "Not judged"), el("ul", {}, ...rules)) : "",
  ];
}

// --- the clock ---

async function showClock() {
  const { setting, seconds } = await ofSession("GET", "clock");
  const kind = setting === "real" ? "real time" : setting === "virtual" ? "virtual time" : `${setting} of real time`;
  setText(byId("clock-time"), `${seconds.toFixed(1)} s, ${kind}`);
  setText(byId("clock-setting"), `${seconds.toFixed(3)} s since the session began, ${kind}.`);
  byId("advance").hidden = setting !== "virtual";
}

onSubmit(byId("advance"), byId("clock"), async ({ seconds }) => {
  await ofSession("POST", "clock/advance", { seconds: Number(seconds) });
  await showClock();
});

// --- the beginning ---

/** The names of operations, from the API's own document. */
async function nameOperations() {
  const { paths, components } = await ask("GET", "/openapi.json");
  const parameters = paths["/sessions/{session}/requests"].get.parameters;
  const all = namesOf(parameters.find(({ name }) => name === "operation").schema);
  const inferring = namesOf(components.schemas.NewStub.properties.operation);
  for (const [form, names] of [["filters", all], ["arm", all], ["stub", inferring]]) {
    setOptions(byId(form).elements.operation, [["", "any"], ...names.map((name) => [name, name])]);
  }
}

const namesOf = (schema) => schema.anyOf.find((each) => each.enum).enum;

nameOperations().catch((fault) => setText(byId("connection"), fault.message));
document.addEventListener("visibilitychange", () => document.hidden || refresh());
loop();
