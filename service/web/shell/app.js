// What every page has: times go on, the colours can be chosen, forms act, the page is live.
import { act, toast } from "./act.js";
import { keepKeys } from "./keys.js";
import { live } from "./live.js";
import { keepTimes } from "./times.js";

document.documentElement.classList.add("scripted");
keepTimes();
act();
keepKeys();
live();

const THEME = "agon_theme";
const dark = matchMedia("(prefers-color-scheme: dark)");

document.addEventListener("click", (event) => {
  if (!event.target.closest("[data-theme-switch]")) return;
  const root = document.documentElement;
  const now = root.dataset.theme || (dark.matches ? "dark" : "light");
  const next = now === "dark" ? "light" : "dark";
  root.dataset.theme = next;
  document.cookie = `${THEME}=${next}; path=/; max-age=31536000; samesite=strict`;
  document.dispatchEvent(new CustomEvent("agon:theme"));
});

// A menu closes when one goes on elsewhere.
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});
document.addEventListener("keydown", (event) => {
  const menu = event.key === "Escape" && document.querySelector("details.menu[open]");
  if (!menu) return;
  menu.open = false;
  menu.querySelector("summary").focus();
});

// `<button data-opens="ID">` opens that dialog, `data-closes` closes the one that it is in. What the dialog is asked about is in the
// button's `data-fill`, {name of a field: value}.
document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-opens]");
  if (opener) {
    const dialog = document.getElementById(opener.dataset.opens);
    for (const [name, value] of Object.entries(JSON.parse(opener.dataset.fill || "{}"))) fill(dialog.querySelector(`[name="${name}"]`), String(value));
    dialog.showModal();
  } else event.target.closest("[data-closes]")?.closest("dialog").close();
});

function fill(field, value) {
  if (field.options && ![...field.options].some((option) => option.value === value)) field.add(new Option(value, value));
  field.value = value;
}

// Labels: the name that is typed says which one the field beside it is.
document.addEventListener("input", ({ target }) => {
  if (!target.matches("[data-label]")) return;
  const value = target.nextElementSibling;
  value.name = target.value ? `set~labels.${target.value}` : "";
  value.toggleAttribute("data-optional", true);
});

// `<button data-copy="ID">` copies what that element says; where the browser doesn't let it, it is selected.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const place = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(place.textContent);
    toast("Copied");
  } catch {
    getSelection().selectAllChildren(place);
    toast("Selected: copy it with the keyboard");
  }
});
