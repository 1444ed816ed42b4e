// The page to try the Data API: its commands and their examples come from the OpenAPI document.
"use strict";

const byId = (id) => document.getElementById(id);
const LEVELS = { "/v1": "Database", "/v1/{keyspace}": "Keyspace", "/v1/{keyspace}/{collection}": "Collection" };
let chosen = null;

function tokenOfCookie() {
  const found = document.cookie.split("; ").find((part) => part.startsWith("sg-swagger-token="));
  return found ? decodeURIComponent(found.slice(found.indexOf("=") + 1)) : "";
}

function path() {
  return chosen.path
    .replace("{keyspace}", encodeURIComponent(byId("keyspace").value))
    .replace("{collection}", encodeURIComponent(byId("collection").value));
}

function choose(command) {
  chosen = command;
  for (const button of document.querySelectorAll("nav button")) {
    if (button.textContent === command.name) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
  byId("name").textContent = command.name;
  byId("summary").textContent = command.summary;
  byId("keyspace-field").hidden = !command.path.includes("{keyspace}");
  byId("collection-field").hidden = !command.path.includes("{collection}");
  byId("body").value = JSON.stringify(command.example, null, 2);
  byId("answer").textContent = "";
  byId("status").textContent = "";
  byId("path").textContent = path();
}

async function send() {
  const button = byId("send");
  const status = byId("status");
  button.disabled = true;
  const started = performance.now();
  try {
    const response = await fetch(path(), {
      method: "POST",
      headers: { "Content-Type": "application/json", Token: byId("token").value },
      body: byId("body").value,
    });
    const text = await response.text();
    let failed = !response.ok;
    try {
      const answer = JSON.parse(text);
      failed = failed || "errors" in answer;
      byId("answer").textContent = JSON.stringify(answer, null, 2);
    } catch {
      byId("answer").textContent = text;
    }
    status.textContent = `${response.status}, ${Math.round(performance.now() - started)} ms`;
    status.className = failed ? "bad" : "";
  } catch (problem) {
    status.textContent = String(problem);
    status.className = "bad";
  } finally {
    button.disabled = false;
  }
}

async function start() {
  const answer = await fetch("/api/json/openapi?format=json");
  const described = await answer.json();
  for (const [at, level] of Object.entries(LEVELS)) {
    const heading = document.createElement("h3");
    heading.textContent = level;
    byId("commands").append(heading);
    const examples = described.paths[at].post.requestBody.content["application/json"].examples;
    for (const [name, { summary, value }] of Object.entries(examples)) {
      const schema = described.components.schemas[`${name[0].toUpperCase()}${name.slice(1)}Command`];
      const command = { name, summary, path: at, example: value };
      const button = document.createElement("button");
      button.textContent = name;
      button.className = schema.deprecated ? "deprecated" : "";
      button.addEventListener("click", () => choose(command));
      byId("commands").append(button);
      if (name === "findKeyspaces") choose(command);
    }
  }
  for (const id of ["keyspace", "collection"]) {
    byId(id).addEventListener("input", () => { byId("path").textContent = path(); });
  }
  byId("token").value = tokenOfCookie();
  byId("send").addEventListener("click", send);
}

start();
