// Rows that came since are told, and not put among those that someone looks at: `#known` has the ids of all that the page shows by now.

/** As many `what` as have no row. */
export function news(what) {
  const more = document.getElementById("known").dataset.ids.split(" ").filter((one) => one && !document.getElementById(`row-${one}`)).length;
  const note = document.getElementById("news");
  note.hidden = !more;
  if (more) note.firstElementChild.textContent = `${more} new ${what}${more > 1 ? "s" : ""}:`;
}
