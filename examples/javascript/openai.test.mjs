import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import OpenAI from "openai";

const control = process.env.CONTROL ?? "http://127.0.0.1:8253";
const gateway = process.env.GATEWAY ?? "http://127.0.0.1:4000";
const client = new OpenAI({ baseURL: `${gateway}/v1`, apiKey: "none is needed" });
const messages = [{ role: "user", content: "who are u?" }];

/** Ask the emulator's control API about the session behind the gateway. */
async function triton(method, path, body) {
  const headers = body && { "Content-Type": "application/json" };
  const url = `${control}/sessions/root/${path}`;
  const answer = await fetch(url, { method, headers, body: body && JSON.stringify(body) });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${path}: ${text}`);
  return text && JSON.parse(text);
}

const say = (...tokens) => triton("POST", "stubs", { model: "vllm", respond: { tokens } });
const inject = (fault) => triton("POST", "plans", { fault, operation: "generate_stream", model: "vllm" });
const rules = async () => (await triton("GET", "verdict")).findings.map((each) => each.rule);

/** The requests that the gateway has made of Triton, as soon as they are so many and complete. */
async function asked(operation, count) {
  return (await triton("GET", `requests?operation=${operation}&count=${count}`)).requests;
}

beforeEach(() => triton("POST", "reset"));

afterEach(async () => {
  const { problems } = await triton("GET", "problems");
  assert.deepEqual(problems, []);
});

test("a chat answer", async () => {
  await say("I am", " a stub.");
  const answer = await client.chat.completions.create({ model: "chat", messages, max_tokens: 10 });
  assert.equal(answer.choices[0].message.content, "I am a stub.");
  assert.equal(answer.choices[0].finish_reason, "stop");
  const [{ inputs, status }] = await asked("generate_stream", 1);
  assert.equal(status, 200);
  assert.match(inputs.find((each) => each.name === "text_input").data[0], /who are u\?/);
  assert.deepEqual(await rules(), []);
});

test("a chat answer as a stream", async () => {
  await say("I am", " a", " stub.");
  const stream = await client.chat.completions.create({ model: "chat", messages, stream: true });
  const told = [];
  for await (const { choices } of stream) if (choices[0]?.delta.content) told.push(choices[0].delta.content);
  assert.deepEqual(told, ["I am", " a", " stub."]);
  assert.equal((await asked("generate_stream", 1))[0].events.length, 3);
  assert.deepEqual(await rules(), []);
});

test("an overloaded server is asked again", async () => {
  await say("here I am");
  const { number } = await inject('error(503, "overloaded")');
  const answer = await client.chat.completions.create({ model: "chat", messages });
  assert.equal(answer.choices[0].message.content, "here I am");
  const requests = await asked("generate_stream", 2);
  assert.deepEqual(requests.map((each) => each.status), [503, 200]);
  assert.deepEqual(requests.map((each) => each.plan), [number, null]);
  assert.deepEqual(requests[0].inputs, requests[1].inputs);
  assert.deepEqual(await rules(), []);
});

test("a client that does not try again raises what Triton said", async () => {
  await inject('error(503, "overloaded")');
  const asking = client.chat.completions.create({ model: "chat", messages }, { maxRetries: 0 });
  await assert.rejects(asking, (error) => {
    assert.ok(error instanceof OpenAI.InternalServerError);
    assert.equal(error.status, 503);
    assert.match(error.message, /overloaded/);
    return true;
  });
  assert.equal((await asked("generate_stream", 1)).length, 1);
});

test("a stream that breaks is an error after its first words", async () => {
  await say("I am", " a", " stub.");
  await inject("cut(after_events=2)");
  const stream = await client.chat.completions.create({ model: "chat", messages, stream: true });
  const told = [];
  await assert.rejects(async () => {
    for await (const { choices } of stream) if (choices[0]?.delta.content) told.push(choices[0].delta.content);
  }, OpenAI.APIError);
  assert.deepEqual(told, ["I am", " a"]);
  assert.equal((await asked("generate_stream", 1))[0].complete, true);
  assert.deepEqual(await rules(), ["cut_stream_taken_as_whole"]); // to check: this client did notice
});

test("an embedding", async () => {
  const { data } = await client.embeddings.create({ model: "embedder", input: ["good morning", "good night"] });
  assert.deepEqual(data.map((each) => each.embedding.length), [384, 384]);
  assert.notDeepEqual(data[0].embedding, data[1].embedding);
  const [{ inputs }] = await asked("infer", 1);
  assert.deepEqual(inputs[0].data, ["good morning", "good night"]);
});

test("the verdict names a client that comes back too soon", async () => {
  await inject('error(503, "overloaded", retry_after=60)');
  const impatient = () => client.chat.completions.create({ model: "chat", messages }, { maxRetries: 0 });
  await assert.rejects(impatient);
  await say("here I am");
  await impatient();
  const { findings } = await triton("GET", "verdict?ignore=retry_without_pause");
  assert.deepEqual(findings.map((each) => [each.rule, each.level]), [["retry_after_ignored", "wrong"]]);
});
