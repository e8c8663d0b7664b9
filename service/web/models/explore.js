// The explorer: what is set becomes the page's URL and questions to the API, whose pictures are shown. explorer.py asks the same without scripts.
//
// A new question gives the one before it up. While a replica starts (503) or too many ask (429) that is told, and asked again.
import { ask, toast } from "../shell/act.js";

const form = document.getElementById("explore");
const { model, version, defaults, most } = form?.dataset ?? {};
const PAD = 32, ACROSS = 8;
const TRIES = 60, LONGEST = 60; // seconds between two tries: whoever names more isn't there at all
const FORMS = { generate: ["png", "webp", "pngs", "npz"], path: ["webp", "gif", "mp4", "pngs", "npz"], traverse: ["png", "webp", "npz"] };
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
const find = (id) => document.getElementById(id);
const make = (name, values) => Object.assign(document.createElement(name), values);
const pause = (ms, signal) => new Promise((go) => (setTimeout(go, ms), signal.addEventListener("abort", go)));
const stage = { place: find("stage") }, pad = { place: find("pad") };
let set, soon, files = [];

const number = (name) => (set[name] ? Number(set[name]) : undefined);
const named = (text) => (/^\d{1,11}$/.test(text) ? Number(text) : text || undefined);
const bare = (body) => JSON.parse(JSON.stringify(body)); // without what isn't set
const url = (kind, body) => `/v1/models/${model}/${kind}?${new URLSearchParams([["version", version], ...Object.entries(body).flatMap(flat)])}`;
const flat = ([name, one]) => (typeof one !== "object" ? [[name, one]] : Array.isArray(one) ? one.map((each) => [name, each]) : Object.entries(one).map(([key, each]) => [name, `${key}=${each}`]));

/** What the model is asked: the question's kind, and its body as REST takes it. */
function question() {
  const seed = number("seed") ?? 0, labels = named(set.label), label = labels === "balanced" ? undefined : labels, truncation = number("truncation");
  const way = set.along ? { code: set.along } : { toward: number("toward") ?? 1 };
  return {
    samples: () => ["generate", { n: number("n"), seed, labels, codes: codes(), truncation }],
    path: () => ["path", { seeds: [seed, number("to") ?? 1], label, frames: number("frames"), form: set.film, loop: set.loop && true, curve: set.curve || undefined, truncation }],
    traverse: () => ["traverse", { ...way, steps: number("steps"), rows: number("rows"), seed, label, truncation }],
    nearest: () => ["neighbours", { n: Math.min(number("n") ?? 16, 64), seed, labels, truncation, k: number("k") }],
    image: () => ["reconstruct", { images: files, label }],
  }[set.show]();
}

function codes() {
  const found = Object.entries(set).filter(([name, one]) => name.startsWith("code-") && one).map(([name, one]) => [name.slice(5), Number(one)]);
  return found.length ? Object.fromEntries(found) : undefined;
}

function draw() {
  set = Object.fromEntries(new FormData(form));
  for (const knob of form.querySelectorAll("[data-for]")) knob.hidden = !knob.dataset.for.split(" ").includes(set.show) || (knob.contains(find("toward")) && Boolean(set.along));
  const [kind, body] = question().map((one) => bare(one));
  snippets(kind, body);
  if (set.show === "image" && !files.length) tell("Choose images of yours: the model encodes them, and draws what it has understood.");
  else show(stage, kind, body);
  const seeds = Array.from({ length: PAD }, (_, index) => (number("pad") ?? 0) + index);
  show(pad, "generate", bare({ seeds, labels: named(set.label), codes: codes(), truncation: number("truncation"), columns: ACROSS }));
  form.querySelectorAll(".over button").forEach((cell, index) => {
    cell.value = cell.firstChild.textContent = seeds[index];
    cell.ariaLabel = `seed ${seeds[index]}`;
    cell.ariaPressed = [set.seed, set.show === "path" && set.to].includes(cell.value);
  });
}

// One picture: asked for, waited for, shown.
async function show(where, kind, body) {
  const get = kind in FORMS, path = url(kind, get ? body : {});
  if (get && where.asked === path) return;
  where.asked = path;
  where.control?.abort();
  const { signal } = (where.control = new AbortController());
  where.place.ariaBusy = "true";
  for (const ms of [1500, 5000, 15000]) setTimeout(watch, ms, where, signal);
  try {
    const answer = await patient(path, signal, get ? {} : post(body));
    const blob = await answer.blob();
    if (signal.aborted) return;
    put(where, blob, body.form === "mp4" ? "video" : "img");
    if (where === stage) told(kind, body, blob, answer.headers.get("agon-searched"));
  } catch (problem) {
    if (signal.aborted) return;
    where.asked = "";
    tell(problem.errors?.map((one) => [one.path, one.message, one.fix].filter(Boolean).join(": ")).join("; ") || problem.detail || String(problem), "wrong");
  }
  where.place.ariaBusy = "false";
}

const post = (body) => ({ method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

async function patient(path, signal, options) {
  for (let tries = 0; tries < TRIES; tries++) {
    const answer = await fetch(path, { ...options, signal }).catch(() => Promise.reject({ detail: "The server can't be reached; change something to ask again" }));
    if (answer.ok) return answer;
    const problem = await answer.json().catch(() => ({ detail: `The server says ${answer.status}` }));
    const after = Number(answer.headers.get("retry-after"));
    if (![429, 503].includes(answer.status) || !after || after > LONGEST) throw problem;
    tell(`${answer.status === 429 ? "Too much is asked" : "Starting"}: ${problem.detail}`);
    await pause(after * 1000, signal);
    if (signal.aborted) throw problem;
  }
  throw { detail: "Nobody answers; change something to ask again" };
}

// Why it takes long.
async function watch(where, signal) {
  if (signal.aborted || where.place.ariaBusy !== "true") return;
  const { applications } = await ask("GET", "/v1/serve").catch(() => ({ applications: [] }));
  const found = applications.find((one) => one.name === "models");
  if (where.place.ariaBusy === "true" && found && found.state !== "ready") tell(`Starting: ${found.reason || found.state}`);
}

function put(where, blob, element) {
  let picture = where.place.querySelector(`${element}.drawn`);
  if (!picture) {
    picture = make(element, { className: "shown pixels drawn", alt: "", loop: true, muted: true, controls: true, autoplay: !still });
    for (const old of where.place.querySelectorAll(".drawn")) old.remove();
    where.place.prepend(picture);
  }
  URL.revokeObjectURL(picture.src);
  picture.src = URL.createObjectURL(blob);
}

function told(kind, body, blob, searched) {
  const chosen = form.elements.label?.selectedOptions?.[0].text ?? set.label;
  const said = [{ path: `seed ${set.seed} to ${set.to}`, image: "your images, each above its reconstruction" }[set.show] ?? `seed ${set.seed}`, set.label && chosen, set.truncation && `truncation ${set.truncation}`].filter(Boolean).join(", ");
  const picture = stage.place.firstChild;
  picture.alt = picture.ariaLabel = `${model} ${version}: ${said}`;
  picture.classList.toggle("wide", !["samples", "path"].includes(set.show));
  tell(said + (searched ? `; among ${searched.replace("/", " of ")} training images` : ""));
  const file = `${model}-${version}`;
  const links = (FORMS[kind] ?? []).map((form) => link(url(kind, { ...body, form }), form === "pngs" ? `${file}.zip` : `${file}.${form}`));
  if (!links.length) links.push(link(stage.place.firstChild.src, `${file}.png`));
  find("saves").replaceChildren("Save", ...links);
}

const link = (href, download) => make("a", { href, download, textContent: download.split(".").pop() });

function tell(text, kind = "") {
  Object.assign(find("told"), { textContent: text, className: `told ${kind}` });
}

function snippets(kind, body) {
  const out = `${model}.${body.form ?? "png"}`, given = body.images ? { ...body, images: ["mine.png"] } : body;
  const words = Object.entries(given).map(([name, one]) => `, ${name}=${one === true ? "True" : JSON.stringify(one)}`);
  find("curl").textContent = `curl -fsS -H "Authorization: Bearer $AGON_TOKEN" -H 'Content-Type: application/json' \\\n     -d '${JSON.stringify(body.images ? { ...body, images: ["BASE64"] } : body)}' \\\n     '${location.origin}/v1/models/${model}/${kind}?version=${version}' -o ${out}`;
  find("python").textContent = `from service.client import Client\n\nwith Client() as client:\n    client.${kind}("${model}/${version}"${words.join("")}).save("${out}")`;
}

// -- what is set, as a URL

const known = () => Object.entries(JSON.parse(defaults)).filter(([name]) => form.elements[name]);

function address() {
  const now = new FormData(form);
  const query = known().map(([name, usual]) => [name, now.get(name) ?? "", usual]).filter(([, one, usual]) => one !== usual);
  return location.pathname + (query.length ? `?${new URLSearchParams(query.map(([name, one]) => [name, one]))}` : "");
}

function back() {
  const query = new URLSearchParams(location.search);
  for (const [name, usual] of known()) {
    const field = form.elements[name], now = query.get(name) ?? usual;
    if (field.type === "checkbox") field.checked = Boolean(now);
    else field.value = now;
  }
  slide();
  draw();
}

// A slider stands for the field beside it, which may be empty.
function slide() {
  for (const slider of form.querySelectorAll("[data-of]")) slider.value = form.elements[slider.dataset.of].value || slider.dataset.none;
}

function changed() {
  clearTimeout(soon);
  soon = setTimeout(draw, 120);
  if (address() !== location.pathname + location.search) history.pushState(null, "", address());
}

async function read(chosen) {
  if ([...chosen].reduce((sum, one) => sum + one.size, 0) > most || chosen.length > 64) return toast("That is too much at once: choose fewer or smaller images", "bad");
  files = await Promise.all([...chosen].map(encoded));
  draw();
}

const encoded = (blob) => new Promise((done) => {
  const reader = new FileReader();
  reader.onload = () => done(reader.result.split(",")[1]);
  reader.readAsDataURL(blob);
});

function submit(event) {
  event.preventDefault();
  const { name, value, dataset } = event.submitter ?? {}, { seed, to, pad } = form.elements;
  if (name === "turn") pad.value = dataset.far ? Math.floor(Math.random() * 1e6) : value;
  else if (name === "pick" && set.show === "path") [seed.value, to.value] = [to.value, value];
  else if (name === "pick") seed.value = value;
  for (const turn of form.querySelectorAll("[data-by]")) turn.value = Math.max(0, Number(pad.value) + Number(turn.dataset.by));
  changed();
}

if (form) {
  form.addEventListener("input", ({ target: { dataset, value } }) => {
    if (dataset.of) form.elements[dataset.of].value = value === dataset.none ? "" : value;
    else slide();
    clearTimeout(soon);
    soon = setTimeout(draw, 120);
  });
  form.addEventListener("change", ({ target }) => (target.type === "file" ? read(target.files) : target.name === "of" ? location.assign(address()) : changed()));
  form.addEventListener("submit", submit);
  addEventListener("popstate", back);
  if (still && !location.search.includes("film")) form.elements.film.value = "png";
  draw();
}
