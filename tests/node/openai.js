// The official OpenAI client, unmodified: makes one call and prints what came of it.
//
// node openai.js CALL PARAMETERS, with BASE_URL and, where there are keys, OPENAI_API_KEY.

import OpenAI, { toFile } from "openai";

const [call, text = "{}"] = process.argv.slice(2);
const parameters = JSON.parse(text);
let requests = 0;
const client = new OpenAI({
  baseURL: process.env.BASE_URL,
  apiKey: process.env.OPENAI_API_KEY ?? "any",
  fetch: (url, init) => {
    requests += 1;
    return fetch(url, init);
  },
});

const CALLS = {
  generate: () => client.images.generate(parameters),
  edit: async () => client.images.edit({ ...parameters, ...(await files()) }),
  stream: async () => ({ events: await collect(await client.images.generate(parameters)) }),
  streamEdit: async () => ({
    events: await collect(await client.images.edit({ ...parameters, ...(await files()), stream: true })),
  }),
  models,
  abort,
  leaveStream,
};

// Images of an edit come as base64.
async function files() {
  const found = {};
  for (const name of ["image", "mask"]) {
    if (name in parameters) {
      found[name] = await toFile(Buffer.from(parameters[name], "base64"), `${name}.png`, { type: "image/png" });
    }
  }
  return found;
}

async function collect(stream) {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
}

async function models() {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  return { ids, model: await client.models.retrieve(parameters.model) };
}

// Hangs up once a job runs.
async function abort() {
  const controller = new AbortController();
  const answer = client.images.generate(parameters, { signal: controller.signal });
  const isRunning = async () => (await jobs()).some((job) => job.status === "running");
  while (!(await isRunning())) await new Promise((resolve) => setTimeout(resolve, 50));
  controller.abort();
  return answer;
}

async function jobs() {
  const answer = await fetch(`${process.env.BASE_URL}/jobs`);
  return (await answer.json()).jobs;
}

// Hangs up after the first event of a stream.
async function leaveStream() {
  const { data: stream, response } = await client.images.generate(parameters).withResponse();
  for await (const event of stream) {
    stream.controller.abort();
    return { job: response.headers.get("x-request-id"), event };
  }
}

function described(error) {
  const { status, message, code, param, type, requestID } = error;
  return { name: error.constructor.name, status, message, code, param, type, requestID };
}

try {
  const answer = await CALLS[call]();
  console.log(JSON.stringify({ ...answer, requests }));
} catch (error) {
  if (!(error instanceof OpenAI.OpenAIError)) throw error;
  console.log(JSON.stringify({ error: described(error), requests }));
}
