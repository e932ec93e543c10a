// The token strip: a row a request, a cell a token. Height and colour both tell the time since the token before, so that it
// reads without colour too; queue and prefill lead the row; a tick marks a changed batch, a wedge a migration.
const CELL = 6, HEIGHT = 26, FLOOR = 5, LEAD_MOST = 90, EDGES_MS = [50, 150, 300], TOP_MS = 1000;
const rows = new Map(); // request id to { node, canvas, request, drawn }
let picked = null, token = null; // what the arrow keys stand on: a request's id, and its answer's token, from 0

const step = (gapMs) => { const found = EDGES_MS.findIndex((edge) => gapMs <= edge); return found < 0 ? EDGES_MS.length : found; };
const height = (gapMs) => FLOOR + (HEIGHT - FLOOR - 4) * Math.min(1, Math.log1p(gapMs) / Math.log1p(TOP_MS));
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

export function draw(list, requests, unmetered) {
  const seen = new Set(requests.map((one) => one.id));
  for (const [id, row] of rows) if (!seen.has(id)) { row.node.remove(); rows.delete(id); if (picked === id) { picked = token = null; list.removeAttribute("aria-activedescendant"); } }
  if (!requests.length) {
    const told = unmetered ? `Not known: ${unmetered}` : "No request yet. Each one, live or recent, becomes a row here.";
    if (list.querySelector(".none")?.textContent !== told) list.replaceChildren(Object.assign(document.createElement("p"), { className: "none", textContent: told }));
    return;
  }
  list.querySelector(".none")?.remove();
  requests.forEach((request, index) => {
    const row = rows.get(request.id) ?? begin(request);
    row.request = request;
    if (list.children[index] !== row.node) list.insertBefore(row.node, list.children[index] ?? null);
    describe(row);
    paint(row);
  });
}

function begin(request) {
  const node = document.createElement("div"), name = document.createElement("div"), canvas = document.createElement("canvas"), end = document.createElement("div");
  Object.assign(node, { className: "row", id: `row-${request.id}` });
  node.setAttribute("role", "option");
  name.className = "name";
  end.className = "end";
  canvas.setAttribute("aria-hidden", "true");
  node.append(name, canvas, end);
  const row = { node, name, canvas, end, request };
  node.addEventListener("click", (event) => pick(row.request.id, under(row, event)));
  rows.set(request.id, row);
  return row;
}

function describe({ node, name, end, request }) {
  const tokens = request.first + request.gaps_ms.length;
  const worst = request.gaps_ms.reduce((most, gap) => Math.max(most, gap ?? 0), 0);
  const quiet = document.createElement("span");
  quiet.textContent = ` ${request.model}`;
  name.replaceChildren(request.id, quiet);
  name.title = request.id;
  end.textContent = request.state === "ended" ? `${tokens} · ${request.outcome}` : request.state === "decoding" ? `${tokens} …` : request.state;
  end.className = `end${["failed", "timeout", "lost_gateway", "refused_load"].includes(request.outcome) ? " ill" : ""}`;
  node.setAttribute("aria-label", `${request.id}, ${request.model}, ${request.state}${request.outcome ? " " + request.outcome : ""}, ${tokens} tokens, longest gap ${Math.round(worst)} ms, ${request.marks.length} migrations`);
  node.setAttribute("aria-selected", String(picked === request.id));
}

// What is on the canvas, left to right: lead-in bars if the first token is shown, then as many of the last tokens as fit.
function layout(row) {
  const width = row.canvas.clientWidth, { request } = row;
  const bar = (ms) => (ms > 0 ? Math.min(LEAD_MOST, 4 + 14 * Math.log10(1 + ms)) : 0);
  const lead = [["queue", bar(request.queue_ms)], ["prefill", bar(request.prefill_ms)]];
  const taken = lead[0][1] + lead[1][1] + 4;
  const all = request.gaps_ms.length, fit = Math.floor((width - taken) / CELL);
  if (request.first === 0 && all <= fit) return { lead, left: taken, from: 0 };
  return { lead: [], left: 0, from: Math.max(0, all - Math.floor(width / CELL)) };
}

function under(row, event) {
  const { left, from } = layout(row), index = from + Math.floor((event.offsetX - left) / CELL);
  return event.target === row.canvas && index >= from && index < row.request.gaps_ms.length ? row.request.first + index : null;
}

function paint(row) {
  const { canvas, request } = row, ratio = devicePixelRatio || 1, width = canvas.clientWidth;
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const key = [request.first, request.gaps_ms.length, request.state, request.queue_ms, request.prefill_ms, request.marks.length, width, ratio, dark, picked === request.id ? token : null].join();
  if (row.drawn === key || width === 0) return;
  row.drawn = key;
  canvas.width = width * ratio;
  canvas.height = HEIGHT * ratio;
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  const { lead, left, from } = layout(row);
  let x = 0;
  for (const [name, wide] of lead) { pen.fillStyle = colour(name); pen.fillRect(x, HEIGHT - FLOOR - 1, wide, FLOOR); x += wide; }
  const shades = EDGES_MS.concat(0).map((_, index) => colour(`q${index}`)), ink = colour("ink"), moved = colour("moved"), accent = colour("accent");
  const migrations = new Set(request.marks.map((mark) => mark.index - request.first));
  request.gaps_ms.slice(from).forEach((gap, offset) => {
    const index = from + offset, cell = left + offset * CELL, high = gap === null ? FLOOR : height(gap);
    pen.fillStyle = gap === null ? shades[0] : shades[step(gap)];
    pen.fillRect(cell, HEIGHT - 1 - high, CELL - 1, high);
    if (index > 0 && request.rows[index] !== request.rows[index - 1]) { pen.fillStyle = ink; pen.fillRect(cell - 1, HEIGHT - 4, 1, 4); }
    if (migrations.has(index)) { pen.fillStyle = moved; pen.beginPath(); pen.moveTo(cell + 2.5, 7); pen.lineTo(cell - 2, 0); pen.lineTo(cell + 7, 0); pen.fill(); }
    if (picked === request.id && token === request.first + index) { pen.strokeStyle = accent; pen.lineWidth = 2; pen.strokeRect(cell - 1, 1, CELL + 1, HEIGHT - 2); }
  });
}

export function tell(list, told) {
  list.addEventListener("keydown", (event) => {
    const ids = [...rows.keys()].sort((a, b) => (rows.get(a).node.compareDocumentPosition(rows.get(b).node) & 4 ? -1 : 1));
    if (!ids.length) return;
    const now = ids.indexOf(picked), first = (id) => rows.get(id).request.first, last = (id) => first(id) + rows.get(id).request.gaps_ms.length - 1;
    const acts = {
      ArrowDown: () => pick(ids[Math.min(ids.length - 1, now + 1)], null), ArrowUp: () => pick(ids[Math.max(0, now - 1)], null),
      ArrowRight: () => now >= 0 && pick(picked, Math.min(last(picked), Math.max(first(picked), (token ?? -1) + 1))),
      ArrowLeft: () => now >= 0 && pick(picked, Math.max(first(picked), (token ?? last(picked) + 1) - 1)),
      Home: () => pick(ids[0], null), End: () => pick(ids.at(-1), null),
    };
    if (!acts[event.key]) return;
    event.preventDefault();
    acts[event.key]();
    say(told);
  });
  list.addEventListener("click", () => say(told));
  addEventListener("resize", () => rows.forEach(paint));
}

function pick(id, index) {
  picked = id;
  token = index === null || index < 0 ? null : index;
  for (const row of rows.values()) { describe(row); paint(row); }
  const node = rows.get(id).node;
  node.parentElement.setAttribute("aria-activedescendant", node.id);
  node.scrollIntoView({ block: "nearest" });
}

function say(told) {
  const row = rows.get(picked);
  if (!row) return;
  const { request } = row;
  const at = token - request.first; // it may have slid out of the window
  if (token === null || at < 0) { told.textContent = row.node.getAttribute("aria-label"); return; }
  const gap = request.gaps_ms[at], moved = request.marks.find((mark) => mark.index === token);
  told.textContent = `${request.id}, token ${token + 1}: ${gap === null ? "the first" : `${Math.round(gap * 10) / 10} ms after the one before`}, ${request.rows[at]} rows in its step${moved ? ", after a migration" : ""}`;
}
