// Reads /openapi.json and shows it. Text always goes into text nodes, so that nothing in it can become markup.
"use strict";

const DEEPEST = 6;
const NO_KEY = "This daemon wants an API key. `slmreg key create NAME` makes one.";
const WRONG_KEY = "The daemon does not know this key: it is mistyped or revoked. `slmreg key list` names all.";
const NOT_A_KEY = "A key is one word of plain letters, digits and signs.";

// In this variable alone, and in nothing that outlives the page. It goes to this server only, in a header.
let key = "";

function at(id) {
  return document.getElementById(id);
}

function element(name, attributes = {}, ...children) {
  const made = Object.assign(document.createElement(name), attributes);
  made.append(...children.filter((child) => child !== null));
  return made;
}

function resolved(spec, schema) {
  const name = schema?.$ref?.split("/").pop();
  return name ? spec.components.schemas[name] ?? {} : schema ?? {};
}

// A sketch of what a schema describes: names with their types, an example where there is one.
function sketch(spec, given, depth = 0) {
  const schema = resolved(spec, given);
  if (depth > DEEPEST) return "...";
  if (schema.enum) return schema.enum.join(" | ");
  if (schema.const !== undefined) return schema.const;
  const kinds = schema.anyOf ?? schema.oneOf;
  if (kinds) {
    const some = kinds.filter((kind) => kind.type !== "null").map((kind) => sketch(spec, kind, depth + 1));
    if (some.every((each) => typeof each === "string")) {
      return [...new Set(some), ...(some.length < kinds.length ? ["null"] : [])].join(" | ");
    }
    return some.find((each) => typeof each !== "string");
  }
  if (schema.type === "array") return [sketch(spec, schema.items, depth + 1)];
  if (schema.properties) {
    const fields = Object.entries(schema.properties);
    return Object.fromEntries(fields.map(([name, field]) => [name, sketch(spec, field, depth + 1)]));
  }
  return schema.type ?? "anything";
}

function shown(value) {
  return element("pre", {}, typeof value === "string" ? value : JSON.stringify(value, null, 2));
}

function rows(pairs) {
  return element("table", {}, ...pairs.map((cells) =>
    element("tr", {}, ...cells.map((cell) => element("td", {}, cell)))));
}

function fieldRows(spec, schema) {
  const { properties = {}, required = [] } = resolved(spec, schema);
  return Object.entries(properties).map(([name, field]) => {
    const kind = sketch(spec, field, DEEPEST - 1);
    const type = typeof kind === "string" ? kind : Array.isArray(kind) ? "array" : "object";
    return [element("code", {}, name), type, required.includes(name) ? "required" : "", field.description ?? ""];
  });
}

function answers(spec, operation) {
  return Object.entries(operation.responses).flatMap(([status, answer]) =>
    Object.entries(answer.content ?? { "": {} }).map(([type, { schema, example }]) => {
      const content = element("details", {}, element("summary", {}, `${answer.description} ${type}`));
      if (schema) content.append(shown(example ?? schema.description ?? sketch(spec, schema)));
      return [element("code", {}, status), content];
    }));
}

async function send(method, path, operation, inputs, body, out) {
  const query = new URLSearchParams();
  const headers = {};
  let url = path;
  for (const [parameter, input] of inputs) {
    if (input.value === "") continue;
    if (parameter.in === "path") url = url.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
    if (parameter.in === "query") query.set(parameter.name, input.value);
    if (parameter.in === "header") headers[parameter.name] = input.value;
  }
  if (body) headers["content-type"] = "application/json";
  const asked = query.size ? `${url}?${query}` : url;
  out.textContent = "...";
  try {
    const response = await ask(asked, { method, headers, body: body ? body.value : undefined });
    if (response.status === 401) wantKey(key ? WRONG_KEY : NO_KEY);
    const said = [...response.headers].filter(([name]) => name.startsWith("x-")).map((pair) => pair.join(": "));
    out.textContent = [`${response.status} ${response.statusText}`, ...said, "", ""].join("\n");
    await follow(response, out);
  } catch (error) {
    out.textContent += `\n${error}`;
  }
}

// As it comes, so that a stream is seen to be one.
async function follow(response, out) {
  if (!(response.headers.get("content-type") ?? "").startsWith("application/json")) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) out.append(part.value);
    return;
  }
  const text = await response.text();
  try {
    out.append(JSON.stringify(JSON.parse(text), null, 2));
  } catch {
    out.append(text);
  }
}

function trial(method, path, operation) {
  const inputs = (operation.parameters ?? []).map((parameter) =>
    [parameter, element("input", { placeholder: String(parameter.schema?.default ?? "") })]);
  const content = operation.requestBody?.content ?? {};
  if (operation.requestBody && !content["application/json"]) return null;
  const example = content["application/json"]?.example ?? {};
  const body = operation.requestBody ? element("textarea", { value: JSON.stringify(example, null, 2) }) : null;
  const out = element("pre");
  const button = element("button", { type: "button" }, "Send");
  button.addEventListener("click", () => send(method, path, operation, inputs, body, out));
  return element("div", {}, element("h3", {}, "Try it"),
    rows(inputs.map(([parameter, input]) => [element("code", {}, parameter.name), input])), body, button, out);
}

function route(spec, path, method, operation) {
  const inside = element("div", {}, element("p", {}, operation.description ?? ""));
  const parameters = (operation.parameters ?? []).map((parameter) =>
    [element("code", {}, parameter.name), parameter.in, parameter.required ? "required" : "",
      parameter.description ?? parameter.schema?.description ?? ""]);
  if (parameters.length) inside.append(element("h3", {}, "Parameters"), rows(parameters));
  for (const [type, { schema }] of Object.entries(operation.requestBody?.content ?? {})) {
    inside.append(element("h3", {}, `Body: ${type}`), rows(fieldRows(spec, schema)));
  }
  inside.append(element("h3", {}, "Answers"), rows(answers(spec, operation)));
  const tried = trial(method.toUpperCase(), path, operation);
  if (tried) inside.append(tried);
  const head = element("summary", {}, element("span", { className: "method" }, method.toUpperCase()),
    element("code", {}, path), element("span", { className: "quiet" }, `  ${operation.summary ?? ""}`));
  const made = element("details", { className: "route" }, head, inside);
  made.dataset.words = `${method} ${path} ${operation.summary} ${operation.description}`.toLowerCase();
  return made;
}

function show(spec) {
  at("version").textContent = spec.info.version;
  at("description").textContent = spec.info.description;
  const sections = new Map();
  for (const [path, operations] of Object.entries(spec.paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      const api = operation.tags?.[0] ?? "other";
      if (!sections.has(api)) sections.set(api, []);
      sections.get(api).push(route(spec, path, method, operation));
    }
  }
  const ids = [...sections.keys()].map((api) => [api, `api-${api.replace(/\W+/g, "-")}`]);
  at("apis").replaceChildren(...ids.map(([api, id]) => element("a", { href: `#${id}` }, api)));
  at("routes").replaceChildren(...ids.map(([api, id]) =>
    element("section", { id }, element("h2", {}, api), ...sections.get(api))));
}

function ask(url, request = {}) {
  const headers = key ? { ...request.headers, authorization: `Bearer ${key}` } : request.headers;
  const here = { mode: "same-origin", credentials: "omit", redirect: "error", cache: "no-store" };
  return fetch(url, { ...request, ...here, headers });
}

function wantKey(why) {
  key = "";
  at("said").textContent = why;
  if (!at("routes").hasChildNodes()) at("description").textContent = "";
  at("kept").hidden = true;
  at("ask").hidden = false;
  at("unsafe").hidden = window.isSecureContext;
  at("key").focus();
}

function haveKey() {
  at("said").textContent = "";
  at("ask").hidden = true;
  at("kept").hidden = key === "";
}

async function load() {
  const response = await ask("/openapi.json");
  if (response.status === 401) return wantKey(key ? WRONG_KEY : NO_KEY);
  const answer = await response.json();
  if (!response.ok) return wantKey(answer.error.message);
  if (!at("routes").hasChildNodes()) show(answer);
  return haveKey();
}

function tryToLoad() {
  return load().catch((error) => {
    at("said").textContent = `/openapi.json cannot be read: ${error}`;
  });
}

at("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const given = at("key").value.trim();
  at("key").value = "";
  if (!/^[!-~]+$/.test(given)) return wantKey(NOT_A_KEY);
  key = given;
  return tryToLoad();
});
at("forget").addEventListener("click", () => wantKey("The key is forgotten."));
// A browser may keep a page that was left, to show it again.
window.addEventListener("pagehide", () => {
  at("key").value = "";
  if (key) wantKey(NO_KEY);
});
at("find").addEventListener("input", (event) => {
  const words = event.target.value.toLowerCase();
  for (const each of document.querySelectorAll("details.route")) each.hidden = !each.dataset.words.includes(words);
});
tryToLoad();
