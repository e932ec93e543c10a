// The token strip has one row per request and one cell per token. A cell's height and colour both show the time since
// the token before, so that the strip reads without colour too. Queue and prefill stand at the row's beginning; a tick
// marks a changed batch, a wedge a migration. It knows only the requests that `draw` gets.
const CELL = 6; // px, like the next three
const HEIGHT = 26;
const FLOOR = 5;
const LEAD_MOST = 90;
const EDGES_MS = [50, 150, 300];
const TOP_MS = 1000;
const ILL_OUTCOMES = ["failed", "timeout", "lost_gateway", "refused_load"];

const rows = new Map(); // request id to { node, name, canvas, end, request, drawn }

// What the arrow keys stand on: a request's id, and a token of its answer, from 0.
let picked = null;
let token = null;

export function draw(list, requests, unmetered) {
  forgetAllBut(new Set(requests.map((request) => request.id)), list);
  if (!requests.length) {
    const empty = "No request yet. Each request, live or recent, becomes a row here.";
    drawNone(list, unmetered ? `Not known: ${unmetered}` : empty);
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

// Lets keys and clicks pick a row and a token, and says in `status` what is picked.
export function listen(list, status) {
  list.addEventListener("keydown", (event) => {
    const ids = [...rows.keys()].sort(byPosition);
    if (!ids.length) return;
    const act = keyActions(ids)[event.key];
    if (!act) return;
    event.preventDefault();
    act();
    say(status);
  });
  list.addEventListener("click", () => say(status));
  addEventListener("resize", () => rows.forEach(paint));
}

function forgetAllBut(ids, list) {
  for (const [id, row] of rows) {
    if (ids.has(id)) continue;
    row.node.remove();
    rows.delete(id);
    if (picked === id) {
      picked = token = null;
      list.removeAttribute("aria-activedescendant");
    }
  }
}

function drawNone(list, text) {
  if (list.querySelector(".none")?.textContent === text) return;
  list.replaceChildren(Object.assign(document.createElement("p"), { className: "none", textContent: text }));
}

function begin(request) {
  const node = document.createElement("div");
  const name = document.createElement("div");
  const canvas = document.createElement("canvas");
  const end = document.createElement("div");
  Object.assign(node, { className: "row", id: `row-${request.id}` });
  node.setAttribute("role", "option");
  name.className = "name";
  end.className = "end";
  canvas.setAttribute("aria-hidden", "true");
  node.append(name, canvas, end);
  const row = { node, name, canvas, end, request };
  node.addEventListener("click", (event) => pick(row.request.id, tokenUnder(row, event)));
  rows.set(request.id, row);
  return row;
}

function describe({ node, name, end, request }) {
  const { id, model, state, outcome } = request;
  const tokens = request.first + request.gaps_ms.length;
  const worstMs = request.gaps_ms.reduce((most, gap) => Math.max(most, gap ?? 0), 0);
  const quiet = document.createElement("span");
  quiet.textContent = ` ${model}`;
  name.replaceChildren(id, quiet);
  name.title = id;
  end.textContent = { ended: `${tokens} · ${outcome}`, decoding: `${tokens} …` }[state] ?? state;
  end.className = `end${ILL_OUTCOMES.includes(outcome) ? " ill" : ""}`;
  const label = [
    id,
    model,
    `${state}${outcome ? " " + outcome : ""}`,
    `${tokens} tokens`,
    `longest gap ${Math.round(worstMs)} ms`,
    `${request.marks.length} migrations`,
  ];
  node.setAttribute("aria-label", label.join(", "));
  node.setAttribute("aria-selected", String(picked === id));
}

// What is on the canvas, from left to right: bars for queue and prefill if the first token is shown, then as many of
// the last tokens as fit.
function layout({ canvas, request }) {
  const width = canvas.clientWidth;
  const bar = (ms) => (ms > 0 ? Math.min(LEAD_MOST, 4 + 14 * Math.log10(1 + ms)) : 0);
  const lead = [["queue", bar(request.queue_ms)], ["prefill", bar(request.prefill_ms)]];
  const taken = lead[0][1] + lead[1][1] + 4;
  const all = request.gaps_ms.length;
  if (request.first === 0 && all <= Math.floor((width - taken) / CELL)) return { lead, left: taken, from: 0 };
  return { lead: [], left: 0, from: Math.max(0, all - Math.floor(width / CELL)) };
}

function tokenUnder(row, event) {
  const { left, from } = layout(row);
  const index = from + Math.floor((event.offsetX - left) / CELL);
  const hit = event.target === row.canvas && index >= from && index < row.request.gaps_ms.length;
  return hit ? row.request.first + index : null;
}

function paint(row) {
  const { canvas, request } = row;
  const ratio = devicePixelRatio || 1;
  const width = canvas.clientWidth;
  const drawn = [
    request.first,
    request.gaps_ms.length,
    request.state,
    request.queue_ms,
    request.prefill_ms,
    request.marks.length,
    width,
    ratio,
    matchMedia("(prefers-color-scheme: dark)").matches,
    picked === request.id ? token : null,
  ].join();
  if (row.drawn === drawn || width === 0) return;
  row.drawn = drawn;
  canvas.width = width * ratio;
  canvas.height = HEIGHT * ratio;
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  const { lead, left, from } = layout(row);
  paintLead(pen, lead);
  paintTokens(pen, request, left, from);
}

function paintLead(pen, lead) {
  let x = 0;
  for (const [name, width] of lead) {
    pen.fillStyle = colour(name);
    pen.fillRect(x, HEIGHT - FLOOR - 1, width, FLOOR);
    x += width;
  }
}

function paintTokens(pen, request, left, from) {
  const shades = EDGES_MS.concat(0).map((_, index) => colour(`q${index}`));
  const ink = colour("ink");
  const moved = colour("moved");
  const accent = colour("accent");
  const migrations = new Set(request.marks.map((mark) => mark.index - request.first));
  request.gaps_ms.slice(from).forEach((gap, offset) => {
    const index = from + offset;
    const x = left + offset * CELL;
    const high = gap === null ? FLOOR : height(gap);
    pen.fillStyle = gap === null ? shades[0] : shades[step(gap)];
    pen.fillRect(x, HEIGHT - 1 - high, CELL - 1, high);
    if (index > 0 && request.rows[index] !== request.rows[index - 1]) {
      pen.fillStyle = ink;
      pen.fillRect(x - 1, HEIGHT - 4, 1, 4);
    }
    if (migrations.has(index)) paintWedge(pen, x, moved);
    if (picked === request.id && token === request.first + index) {
      pen.strokeStyle = accent;
      pen.lineWidth = 2;
      pen.strokeRect(x - 1, 1, CELL + 1, HEIGHT - 2);
    }
  });
}

function paintWedge(pen, x, moved) {
  pen.fillStyle = moved;
  pen.beginPath();
  pen.moveTo(x + 2.5, 7);
  pen.lineTo(x - 2, 0);
  pen.lineTo(x + 7, 0);
  pen.fill();
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function height(gapMs) {
  return FLOOR + (HEIGHT - FLOOR - 4) * Math.min(1, Math.log1p(gapMs) / Math.log1p(TOP_MS));
}

function step(gapMs) {
  const edge = EDGES_MS.findIndex((edgeMs) => gapMs <= edgeMs);
  return edge < 0 ? EDGES_MS.length : edge;
}

function byPosition(a, b) {
  const follows = rows.get(a).node.compareDocumentPosition(rows.get(b).node) & Node.DOCUMENT_POSITION_FOLLOWING;
  return follows ? -1 : 1;
}

function keyActions(ids) {
  const now = ids.indexOf(picked);
  const first = (id) => rows.get(id).request.first;
  const last = (id) => first(id) + rows.get(id).request.gaps_ms.length - 1;
  return {
    ArrowDown: () => pick(ids[Math.min(ids.length - 1, now + 1)], null),
    ArrowUp: () => pick(ids[Math.max(0, now - 1)], null),
    ArrowRight: () => now >= 0 && pick(picked, Math.min(last(picked), Math.max(first(picked), (token ?? -1) + 1))),
    ArrowLeft: () => now >= 0 && pick(picked, Math.max(first(picked), (token ?? last(picked) + 1) - 1)),
    Home: () => pick(ids[0], null),
    End: () => pick(ids.at(-1), null),
  };
}

function pick(id, index) {
  picked = id;
  token = index === null || index < 0 ? null : index;
  for (const row of rows.values()) {
    describe(row);
    paint(row);
  }
  const node = rows.get(id).node;
  node.parentElement.setAttribute("aria-activedescendant", node.id);
  node.scrollIntoView({ block: "nearest" });
}

function say(status) {
  const row = rows.get(picked);
  if (!row) return;
  const { request } = row;
  const index = token - request.first; // below 0 where the token is no longer among those that are kept
  if (token === null || index < 0) {
    status.textContent = row.node.getAttribute("aria-label");
    return;
  }
  const gap = request.gaps_ms[index];
  const moved = request.marks.some((mark) => mark.index === token);
  const time = gap === null ? "the first" : `${Math.round(gap * 10) / 10} ms after the one before`;
  const batch = `${request.rows[index]} rows in its step`;
  status.textContent = `${request.id}, token ${token + 1}: ${time}, ${batch}${moved ? ", after a migration" : ""}`;
}
