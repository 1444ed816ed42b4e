// The page to try the Data API: its commands and their examples come from the OpenAPI document.
"use strict";

const byId = (id) => document.getElementById(id);
const LEVELS = { "/v1": "Database", "/v1/{keyspace}": "Keyspace", "/v1/{keyspace}/{collection}": "Collection" };
const NAMES = ["keyspace", "collection"];
const FIRST = "findKeyspaces";
const commands = new Map();
let chosen = null;

function tokenOfCookie() {
  const found = document.cookie.split("; ").find((part) => part.startsWith("sg-swagger-token="));
  return found ? decodeURIComponent(found.slice(found.indexOf("=") + 1)) : "";
}

function path() {
  return NAMES.reduce((made, name) => made.replace(`{${name}}`, encodeURIComponent(byId(name).value)), chosen.path);
}

function choose(name) {
  if (chosen) chosen.body = byId("body").value; // what was written is there again when the command is
  chosen = commands.get(name);
  for (const button of document.querySelectorAll("nav button")) {
    if (button.textContent === name) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
  byId("choice").value = name;
  byId("name").textContent = name;
  byId("summary").textContent = chosen.summary;
  for (const field of NAMES) {
    // What is disabled is not asked to be filled in.
    byId(field).disabled = byId(field).parentElement.hidden = !chosen.path.includes(`{${field}}`);
  }
  byId("body").value = chosen.body;
  byId("path").textContent = path();
  show("", "", false);
}

function show(status, answer, failed) {
  byId("status").textContent = status;
  byId("status").className = failed ? "bad" : "";
  byId("answer").textContent = answer;
}

async function post() {
  let headers;
  try {
    headers = new Headers({ "Content-Type": "application/json", Token: byId("token").value });
  } catch {
    return { status: "Not sent: the token has characters that no header can have", answer: "", failed: true };
  }
  const started = performance.now();
  let response, text;
  try {
    response = await fetch(path(), { method: "POST", headers, body: byId("body").value });
    text = await response.text();
  } catch (problem) {
    return { status: `The server did not answer (${problem.message})`, answer: "", failed: true };
  }
  const milliseconds = `${Math.round(performance.now() - started)} ms`;
  const told = [response.status];
  let answer = text || "(no body)";
  let failed = !response.ok;
  try {
    const parsed = JSON.parse(text);
    answer = JSON.stringify(parsed, null, 2);
    const codes = (parsed.errors ?? []).map((error) => error.errorCode);
    failed ||= codes.length > 0;
    told.push(...new Set(codes));
  } catch {
    // Not JSON, such as the answer of a proxy: shown as it came.
  }
  return { status: [...told, milliseconds].join(", "), answer, failed };
}

async function send() {
  const asked = chosen;
  byId("send").disabled = true;
  show("Sending…", "", false);
  const { status, answer, failed } = await post();
  byId("send").disabled = false;
  if (chosen === asked) show(status, answer, failed); // else it would stand below another command
  else show("", "", false);
}

function list(level, names) {
  const heading = document.createElement("h3");
  heading.textContent = level;
  const group = document.createElement("optgroup");
  group.label = level;
  byId("commands").append(heading);
  byId("choice").append(group);
  for (const name of names) {
    const button = document.createElement("button");
    button.textContent = name;
    button.className = commands.get(name).deprecated ? "deprecated" : "";
    button.addEventListener("click", () => choose(name));
    byId("commands").append(button);
    group.append(new Option(name));
  }
}

async function start() {
  const answer = await fetch("/api/json/openapi?format=json");
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  const described = await answer.json();
  for (const [at, level] of Object.entries(LEVELS)) {
    const examples = described.paths[at].post.requestBody.content["application/json"].examples;
    for (const [name, { value }] of Object.entries(examples)) {
      const schema = described.components.schemas[`${name[0].toUpperCase()}${name.slice(1)}Command`];
      const deprecated = schema.deprecated === true;
      const summary = deprecated ? `Deprecated. ${schema.description}` : schema.description;
      const example = JSON.stringify(value, null, 2);
      commands.set(name, { path: at, summary, deprecated, example, body: example });
    }
    list(level, Object.keys(examples));
  }
  choose(FIRST);
  byId("command").hidden = false;
}

for (const name of NAMES) byId(name).addEventListener("input", () => { byId("path").textContent = path(); });
byId("choice").addEventListener("change", () => choose(byId("choice").value));
byId("reset").addEventListener("click", () => { byId("body").value = chosen.example; });
byId("command").addEventListener("submit", (event) => { event.preventDefault(); send(); });
byId("body").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !byId("send").disabled) byId("command").requestSubmit();
});
byId("token").value = tokenOfCookie();
start().catch((problem) => {
  byId("summary").className = "bad";
  byId("summary").textContent = `The commands could not be read (${problem.message}). Load the page again.`;
});
