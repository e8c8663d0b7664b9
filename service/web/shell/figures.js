// Figures as a person reads them; the same as service/figures.py.

/** How many, in three digits: 950, 12.3k, 1.20M. */
export function short(count) {
  if (count == null || Number.isNaN(count)) return "–";
  const size = Math.abs(count);
  for (const [unit, of] of [["G", 1e9], ["M", 1e6], ["k", 1e3]]) {
    if (size < of * 0.9995 || (of === 1e3 && size < 9999.5)) continue;
    const scaled = count / of;
    return scaled.toFixed(Math.max(0, 3 - String(Math.trunc(Math.abs(scaled))).length)) + unit;
  }
  return Number(count.toPrecision(6)).toLocaleString("en");
}

/** Four digits. */
export const score = (value) => (typeof value === "number" ? Number(value.toPrecision(4)).toString() : String(value));
