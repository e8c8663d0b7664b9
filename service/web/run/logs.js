// Follows the log that is shown, from the place to which the page has it. What is shown is at most so much text, in few nodes; and it scrolls
// to what comes only while one is at its end.
// Characters
const MOST = 400_000;
// Pixels from the end that count as it
const NEAR = 30;
const ESCAPES = /\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/g;
const PAUSE = 3000;
const place = document.getElementById("run-log");
const follows = document.getElementById("log-follow");

function add(text) {
  const atEnd = follows.checked && place.scrollHeight - place.scrollTop - place.clientHeight < NEAR;
  place.append(text.replace(/\r\n?/g, "\n").replace(ESCAPES, ""));
  if (!atEnd) return;
  let length = place.textContent.length;
  while (length > MOST && place.childNodes.length > 1) {
    length -= place.firstChild.length;
    place.firstChild.remove();
  }
  place.scrollTop = place.scrollHeight;
}

if (place) {
  place.scrollTop = place.scrollHeight;
  let stream = null;
  let last = place.dataset.place;
  const follow = async () => {
    if (document.hidden) return setTimeout(follow, PAUSE);
    stream = new AbortController();
    try {
      const answer = await fetch(place.dataset.url, { headers: { Accept: "text/event-stream", "Last-Event-ID": last }, signal: stream.signal });
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let rest = "", part; !(part = await reader.read()).done; ) {
        const messages = (rest + part.value.replace(/\r/g, "")).split("\n\n");
        rest = messages.pop();
        for (const message of messages) {
          const field = Object.fromEntries(message.split("\n").map((line) => line.match(/^(\w+): ?(.*)/)?.slice(1) ?? ["", ""]));
          last = field.id ?? last;
          if (field.event === "log") add(JSON.parse(field.data).text);
          else if (field.event === "attempt") add(`\n--- attempt ${JSON.parse(field.data).attempt} ---\n`);
          else if (field.event === "state") return;
        }
      }
    // It is asked for again
    } catch {}
    setTimeout(follow, PAUSE);
  };
  document.addEventListener("visibilitychange", () => document.hidden && stream.abort());
  follow();
}
