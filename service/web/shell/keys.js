// Keys of a page: `keys("The table", { "j ArrowDown": ["the next run", next], x: ["tick it", tick] })`; `?` shows them all.
//
// One is heard while nobody types and no dialog is open. What its function answers with false, it has not taken: the browser does what it does.
const groups = new Map();
const NAMES = { ArrowUp: "↑", ArrowDown: "↓", ArrowLeft: "←", ArrowRight: "→", " ": "Space", Escape: "Esc" };
const TYPED = "textarea, select, [contenteditable], input:not([type=checkbox], [type=radio], [type=button], [type=range])";

/** Take these, too. The name of a group is its heading in the list. */
export function keys(group, table) {
  groups.set(group, { ...groups.get(group), ...table });
}

export function keepKeys() {
  keys("All pages", { "?": ["this list", list] });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || event.isComposing) return;
    if (event.target.closest?.(TYPED) || document.querySelector("dialog[open]")) return;
    if (event.target.type === "range" && event.key.startsWith("Arrow")) return;
    const found = [...groups.values()].flatMap(Object.entries).find(([names]) => names === event.key || names.split(" ").includes(event.key));
    if (found && found[1][1](event) !== false) event.preventDefault();
  });
  document.addEventListener("click", (event) => event.target.closest("[data-keys]") && list());
}

function list() {
  const dialog = make("dialog", { ariaLabel: "Keys", className: "keys" });
  const close = make("button", { textContent: "Close" });
  const form = make("form", { method: "dialog" });
  form.append(close);
  dialog.append(make("h2", { textContent: "Keys" }));
  for (const [group, table] of [...groups].reverse()) {
    const rows = make("dl", { className: "facts" });
    for (const [names, [what]] of Object.entries(table)) {
      const term = make("dt");
      names.split(/ (?=.)/).forEach((name, index) => term.append(index ? " or " : "", make("kbd", { textContent: NAMES[name] ?? name })));
      rows.append(term, make("dd", { textContent: what }));
    }
    dialog.append(make("h3", { textContent: group }), rows);
  }
  dialog.append(form);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

const make = (name, values = {}) => Object.assign(document.createElement(name), values);
