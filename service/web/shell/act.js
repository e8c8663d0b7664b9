// `<form data-act action="/v1/jobs/j-1/pause" method="post">` asks the REST API, as JSON, with the session's cookie.
//
// data-method  PUT, PATCH or DELETE, which a form can't say
// action       {name} in it is the value of that field, which has data-in-path
// data-match   the `etag` that the page was made with: sent as If-Match
// data-body    a JSON object that the form's fields are put into; a field named `a~b` goes to {"a": {"b": …}} (`set~train.images`), one with
//              data-type="number", "boolean" or "json" as that, one that is "maybe" empty as null, one of "values" (a JSON object, or lines
//              of `path=value`) as an object, an empty one with data-optional not at all
// data-ask     a question that is to be answered with yes first
// data-done    what to say when it is done
// data-then    a path to go on to; {id} in it is the answer's
// A problem is told where it happened: at the fields that it names, and in the form's `[data-problem]`.
import { refresh } from "./live.js";

export function act() {
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!(form instanceof HTMLFormElement) || !("act" in form.dataset)) return;
    event.preventDefault();
    send(form);
  });
}

async function send(form) {
  if (form.dataset.ask && !(await sure(form.dataset.ask))) return;
  const buttons = [...form.querySelectorAll("button")].filter((button) => !button.disabled);
  for (const button of buttons) button.disabled = true;
  try {
    const answer = await ask(form.dataset.method || form.method, path(form), body(form), form.dataset.match);
    clear(form);
    form.closest("dialog")?.close();
    form.dispatchEvent(new CustomEvent("agon:done", { bubbles: true, detail: answer }));
    if (form.dataset.done) toast(form.dataset.done);
    if (form.dataset.then) return location.assign(form.dataset.then.replace("{id}", answer?.id ?? ""));
    await refresh();
  } catch (problem) {
    tell(form, problem);
  } finally {
    for (const button of buttons) button.disabled = false;
  }
}

/** Ask the API; `key` makes that it is done once, however often it is asked. Returns its answer, JSON or null; throws the problem document, or one that says that nobody answered. */
export async function ask(method, path, body, match, key) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (match) headers["If-Match"] = match;
  if (method.toUpperCase() === "POST") headers["Idempotency-Key"] = `"${key ?? crypto.randomUUID?.() ?? Date.now() + Math.random()}"`;
  let answer;
  try {
    answer = await fetch(path, { method: method.toUpperCase(), headers, body: body && JSON.stringify(body), credentials: "same-origin" });
  } catch {
    throw { title: "No answer", detail: "the server can't be reached; try again", errors: [] };
  }
  const json = /json/.test(answer.headers.get("content-type") || "") ? await answer.json() : null;
  if (answer.ok) return json;
  throw json ?? { title: "Problem", detail: `the server says ${answer.status}`, errors: [] };
}

const path = (form) => form.getAttribute("action").replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(form.elements[name].value));

function body(form) {
  const found = form.dataset.body ? JSON.parse(form.dataset.body) : {};
  let some = Boolean(form.dataset.body);
  for (const field of form.elements) {
    if (!field.name || field.disabled || "inPath" in field.dataset || (field.type === "radio" && !field.checked)) continue;
    if (field.value === "" && "optional" in field.dataset) continue;
    some = true;
    put(found, field.name, value(field));
  }
  return some ? found : undefined;
}

function value(field) {
  const type = field.dataset.type || (field.type === "checkbox" ? "boolean" : field.type === "number" ? "number" : "text");
  if (type === "boolean") return field.type === "checkbox" ? field.checked : field.value === "true";
  if (type === "number") return field.value === "" ? null : Number(field.value);
  if (type === "maybe") return field.value.trim() || null;
  if (type === "json" || type === "values") return read(field, type === "json" ? JSON.parse : values);
  return field.value;
}

function read(field, how) {
  try {
    return how(field.value);
  } catch (error) {
    throw { title: "Problem", detail: error.message, errors: [{ path: field.name, message: error.message }] };
  }
}

function values(text) {
  if (text.trim().startsWith("{")) return JSON.parse(text);
  const lines = text.split("\n").filter((line) => line.trim());
  return Object.fromEntries(lines.map((line) => {
    const [, path, given] = /^\s*([^=\s]+)\s*=\s*(.*?)\s*$/.exec(line) ?? [];
    if (!path) throw new Error(`${line.trim()}: write path=value, a line each`);
    try {
      return [path, JSON.parse(given)];
    } catch {
      return [path, given];
    }
  }));
}

function put(into, path, value) {
  const [first, ...rest] = path.split("~");
  if (!rest.length) into[first] = value;
  else put((into[first] ??= {}), rest.join("~"), value);
}

function clear(form) {
  for (const field of form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
  const place = form.querySelector("[data-problem]");
  if (place) place.replaceChildren();
}

function tell(form, problem) {
  clear(form);
  const place = form.querySelector("[data-problem]");
  for (const error of problem.errors ?? []) {
    form.querySelector(`[name="${CSS.escape(error.path)}"], [data-path="${CSS.escape(error.path)}"]`)?.setAttribute("aria-invalid", "true");
  }
  if (!place) return toast(problem.detail, "bad");
  const lines = problem.errors?.length
    ? problem.errors.map((error) => `${error.path}: ${error.message}${error.value ? ` (got ${error.value})` : ""}${error.fix ? `: ${error.fix}` : ""}`)
    : [problem.detail];
  place.replaceChildren(...lines.map((line) => Object.assign(document.createElement("p"), { className: "wrong", textContent: line })));
  place.setAttribute("role", "alert");
}

/** Say something, for as long as it takes to read; what went wrong stays until it is closed. */
export function toast(text, kind = "") {
  const box = Object.assign(document.createElement("div"), { className: `toast ${kind}` });
  const close = Object.assign(document.createElement("button"), { type: "button", textContent: "×", ariaLabel: "Close" });
  close.addEventListener("click", () => box.remove());
  box.append(Object.assign(document.createElement("span"), { textContent: text }), close);
  document.getElementById("toasts").append(box);
  if (!kind) setTimeout(() => box.remove(), 6000);
}

/** Whether the person says yes. */
export function sure(question) {
  const dialog = document.createElement("dialog");
  const form = Object.assign(document.createElement("form"), { method: "dialog", className: "stack" });
  const text = Object.assign(document.createElement("p"), { textContent: question });
  const row = Object.assign(document.createElement("div"), { className: "row" });
  const yes = Object.assign(document.createElement("button"), { value: "yes", textContent: "Yes", className: "main" });
  const no = Object.assign(document.createElement("button"), { value: "no", textContent: "No" });
  row.append(yes, no);
  form.append(text, row);
  dialog.append(form);
  dialog.setAttribute("aria-label", "Sure?");
  document.body.append(dialog);
  dialog.showModal();
  no.focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
  });
}
