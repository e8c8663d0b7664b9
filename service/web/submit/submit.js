// The form of a spec: what is changed is checked while one types, planned, and submitted. Only changes are sent, as text: REST reads it as YAML.
import { ask } from "../shell/act.js";

const form = document.getElementById("submit");
const find = (id) => document.getElementById(id);
const make = (name, values) => Object.assign(document.createElement(name), values);
const TRIES = 20;
let soon, turn = 0, key = {};

const changed = (field) => field.value !== field.dataset.was;
const said = (field) => (field.value === "" && ("null" in field.dataset || field.tagName === "SELECT") ? null : field.value);

function body() {
  const fields = [...form.querySelectorAll("[data-path]")].filter(changed);
  return { ...JSON.parse(form.dataset.base), set: Object.fromEntries(fields.map((field) => [field.dataset.path, said(field)])) };
}

const quoted = (text) => (/^[\w.,:/@+=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

function mark() {
  for (const field of form.querySelectorAll("[data-path]")) field.classList.toggle("changed", changed(field));
  const set = Object.entries(body().set);
  find("command").textContent = [form.dataset.command, ...set.map(([path, value]) => `--set ${quoted(`${path}=${value}`)}`)].join(" \\\n  ");
}

// -- what is wrong, at its field

function tell(problem) {
  for (const field of form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
  for (const place of form.querySelectorAll("[data-wrong]")) place.textContent = "";
  const others = [];
  for (const { path, message, fix } of problem?.errors ?? []) {
    const words = fix ? `${message}: ${fix}` : message;
    const field = form.querySelector(`[data-path="${CSS.escape(path)}"]`);
    if (!field) others.push(`${path}: ${words}`);
    else {
      field.ariaInvalid = "true";
      field.closest(".field").querySelector("[data-wrong]").textContent = words;
      if (field.closest("details")) field.closest("details").open = true;
    }
  }
  if (problem && !problem.errors?.length) others.push(problem.detail);
  find("others").replaceChildren(...others.map((textContent) => make("p", { className: "wrong", textContent })));
}

async function check() {
  const mine = ++turn;
  mark();
  try {
    await ask("POST", "/v1/validate", body());
    if (mine !== turn) return;
    tell();
    verdict("Valid. The plan is made …");
    foretell(mine);
  } catch (problem) {
    if (mine !== turn) return;
    tell(problem);
    find("facts").replaceChildren();
    find("starts").replaceChildren();
    return verdict(problem.status === 422 ? "It can't be submitted so." : "It can't be checked now.", "wrong");
  }
  plan(mine);
}

async function plan(mine) {
  for (let tries = 0; tries < TRIES && mine === turn; tries++) {
    try {
      const found = await ask("POST", "/v1/plans", body());
      return mine === turn && shown(found);
    } catch (problem) {
      if (mine !== turn) return;
      if (problem.status !== 503 || tries === TRIES - 1) return verdict(`Valid; there is no plan: ${problem.detail}`);
      verdict(`Valid. The plan is made: ${problem.detail}`);
      await new Promise((go) => setTimeout(go, 3000));
    }
  }
}

// -- when it would start

async function foretell(mine) {
  try {
    const found = await ask("POST", "/v1/forecast", body());
    if (mine === turn) facts("starts", begins(found));
  } catch {
    if (mine === turn) facts("starts", {});
  }
}

const until = (moment) => Math.max(0, new Date(moment) - Date.now()) / 36e5;

function span({ early, late }) {
  if (late === null) return until(early) * 60 < 1 ? "at the earliest now" : `at the earliest in ${long(until(early))}`;
  if (until(late) * 60 < 1) return "at once";
  const [least, most] = [long(until(early)), long(until(late))];
  return until(early) * 60 < 1 ? `within ${most}` : least === most ? `in about ${most}` : `in ${least} to ${most}`;
}

function begins({ for: what, needs, free, position, ahead, eta, cheaper }) {
  if (!free) return { starts: "nothing is known of the cluster now" };
  if (what === "nodes") return { starts: "never: the cluster has no nodes that hold it" };
  if (!eta) return {};
  const lacks = ["CPUs", "GPUs"].filter((kind) => needs[kind.toLowerCase()] > free[kind.toLowerCase()]);
  return {
    starts: span(eta) + (ahead.length && position ? `, as number ${position} in line` : ""),
    ...(lacks.length && { free: lacks.map((kind) => `${free[kind.toLowerCase()]} of ${needs[kind.toLowerCase()]} ${kind}`).join(", ") }),
    ...(cheaper.length && { sooner: `${Object.entries(cheaper[0].change).map((pair) => pair.join("=")).join(" ")}: ${span(cheaper[0].starts)}` }),
  };
}

function facts(id, found) {
  find(id).replaceChildren(...Object.entries(found).flatMap(([name, value]) => [make("dt", { textContent: name }), make("dd", { textContent: value })]));
}

const size = (bytes) => `${(bytes / 2 ** 30).toPrecision(3)} GiB`;
const long = (hours) => (hours < 0.1 ? `${Math.max(1, Math.round(hours * 60))} min` : `${Number(hours.toPrecision(2))} h`);

function shown({ verdict: fits, memory, time, title, workers }) {
  verdict({ true: "It fits", false: "It does not fit", null: "Valid" }[fits.fits] + (fits.fits === false ? `: ${fits.advice}` : "."), { true: "good", false: "wrong" }[fits.fits]);
  facts("facts", {
    on: `${workers} × ${title}`,
    memory: memory.usable ? `${size(memory.total)} of ${size(memory.usable)} each` : `${size(memory.total)} each`,
    takes: `${long(time.hours)}, ${Math.round(time.images_per_second).toLocaleString("en")} images/s${time.calibrated ? "" : " (estimated)"}`,
  });
}

function verdict(textContent, className = "") {
  Object.assign(find("verdict"), { textContent, className });
}

form?.addEventListener("input", () => {
  clearTimeout(soon);
  soon = setTimeout(check, 400);
});
form?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const asked = body(), text = JSON.stringify(asked);
  if (key.text !== text) key = { text, id: `${Date.now()}-${Math.random()}` }; // sent twice, it starts one job
  event.submitter.disabled = true;
  try {
    location.assign(`/runs/${(await ask("POST", "/v1/jobs", asked, "", key.id)).id}`);
  } catch (problem) {
    turn++;
    tell(problem);
    verdict("It was not submitted.", "wrong");
    (form.querySelector("[aria-invalid]") ?? find("others")).scrollIntoView({ block: "center" });
  }
  event.submitter.disabled = false;
});
if (form) check();
