// `<time data-time>`: "3 min ago" stays true while one looks at it, and a moment is shown in the browser's own time zone.
const UNITS = [[172800, 86400, "days", 0], [3600, 3600, "h", 1], [60, 60, "min", 0], [0, 1, "s", 0]];

export function coarse(seconds) {
  const [, size, unit, digits] = UNITS.find(([from]) => seconds >= from) || UNITS[3];
  const count = seconds / size;
  return `${digits ? count.toFixed(digits) : Math.floor(count)} ${unit}`;
}

const TOLD = {
  ago: (moment, now) => (now - moment >= 1000 ? `${coarse((now - moment) / 1000)} ago` : "now"),
  until: (moment, now) => (moment - now >= 1000 ? `in ${coarse((moment - now) / 1000)}` : "now"),
  clock: (moment) => moment.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" }),
};

function tell(root = document) {
  const now = Date.now();
  for (const element of root.querySelectorAll("time[data-time]")) {
    const text = TOLD[element.dataset.time]?.(new Date(element.dateTime), now);
    if (text && element.textContent !== text) element.textContent = text;
  }
}

export function keepTimes() {
  tell();
  setInterval(() => document.hidden || tell(), 10000);
  document.addEventListener("agon:fresh", () => tell());
}
