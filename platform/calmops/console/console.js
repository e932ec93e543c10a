// The console asks /console/state once per second and shows the answer. It knows only that answer
// (actors/gateway/console_api.py). It keeps five minutes of figures for the lines, and no content: the answer has none.
import { draw, listen } from "./strip.js";

const EVERY_MS = 1000;
const LOST_MS = 5000;
const KEPT = 300;
const FIGURES = [
  // name in the answer, title, unit, and the bound above which the value is ill
  ["itl_p99_ms", "Token latency p99", "ms", 300],
  ["itl_p95_ms", "Token latency p95", "ms"],
  ["itl_p50_ms", "Token latency p50", "ms", 50],
  ["ttft_p99_ms", "First token p99", "ms", 2500],
  ["tokens_per_s", "Tokens per second", ""],
  ["requests_per_s", "Requests per second", ""],
  ["failed_share", "Failed", "%", 1],
  ["waiting", "Waiting", ""],
  ["running", "Running", ""],
];

const history = new Map(); // "model/figure" to its latest values
let state = null; // the latest answer
let heardMs = 0;
let answeredOnce = false;

const at = (id) => document.getElementById(id);
const token = () => sessionStorage.getItem("token"); // the operator's, kept until the tab is closed

async function ask() {
  const request = new AbortController();
  const limit = setTimeout(() => request.abort(), LOST_MS);
  try {
    const headers = token() ? { authorization: `Bearer ${token()}` } : {};
    const answer = await fetch("/console/state", { signal: request.signal, cache: "no-store", headers });
    at("door").hidden = answer.status !== 401;
    if (!answer.ok) {
      const body = await answer.json().catch(() => null);
      throw new Error(body?.error?.message ?? `HTTP ${answer.status}`);
    }
    state = await answer.json();
    heardMs = performance.now();
    answeredOnce = true;
    remember(state.figures);
    show();
  } catch (error) {
    showLink(error.name === "AbortError" ? "no answer" : error.message);
  } finally {
    clearTimeout(limit);
    setTimeout(ask, EVERY_MS);
  }
}

function remember(figures) {
  for (const model of figures) {
    for (const [name] of FIGURES) {
      const key = `${model.model}/${name}`;
      const values = history.get(key) ?? [];
      values.push(model[name] ?? null);
      if (values.length > KEPT) values.shift();
      history.set(key, values);
    }
  }
}

function show() {
  showLink();
  at("where").textContent = `${state.environment} · gateway ${state.gateway} · ${state.version}`;
  showModels();
  showAlerts();
  showFigures();
  showObjectives();
  showGangs();
  draw(at("strip"), state.requests.filter((request) => chosen(request.model)), state.unmetered);
  at("hidden").textContent = state.hidden ? `and ${state.hidden} more live requests, for which there is no row` : "";
}

// Says in the header whether the gateway answers; `trouble` is why it doesn't.
function showLink(trouble = null) {
  const silentMs = performance.now() - heardMs;
  const link = at("link");
  const lost = trouble !== null && (!answeredOnce || silentMs > LOST_MS);
  document.body.toggleAttribute("data-stale", lost && answeredOnce);
  link.dataset.state = lost ? "lost" : trouble ? "waiting" : "live";
  let text = trouble ? "waiting" : "live";
  if (lost && answeredOnce) text = `lost: nothing heard for ${duration(silentMs / 1000)} (${trouble})`;
  else if (lost) text = `calmops can't be reached (${trouble})`;
  if (link.textContent !== text) link.textContent = text;
}

function showModels() {
  const select = at("model");
  const names = state.figures.map((figures) => figures.model);
  const known = [...select.options].slice(1).map((option) => option.value);
  if (known.join() === names.join()) return;
  const before = select.value;
  const options = names.map((name) => make("option", { value: name }, name));
  select.replaceChildren(make("option", { value: "" }, "all"), ...options);
  if (names.includes(before)) select.value = before;
}

function showAlerts() {
  const list = at("alerts");
  const firing = state.alerts.filter((alert) => !alert.model || chosen(alert.model));
  const identities = firing.map(({ alert, labels, shard, severity }) => [alert, labels, shard, severity]);
  const key = JSON.stringify([identities, state.alerts_unknown]);
  // The same alerts keep their nodes, so that a link doesn't lose the focus.
  if (list.dataset.key === key) {
    list.querySelectorAll("time").forEach((time, index) => {
      time.textContent = duration(state.at_s - firing[index].since_s);
    });
    return;
  }
  list.dataset.key = key;
  if (state.alerts_unknown) {
    list.replaceChildren(make("li", { class: "ticket" }, `Not known: ${state.alerts_unknown}`));
  } else if (!firing.length) {
    list.replaceChildren(make("li", {}, "No alert is firing."));
  } else {
    list.replaceChildren(...firing.map(alertItem));
  }
}

function alertItem(alert) {
  const labels = Object.entries(alert.labels).filter(([name, value]) => value && !isKnown(name, value));
  const shard = alert.shard === null ? null : `shard ${alert.shard}`;
  return make(
    "li", { class: alert.severity },
    make("span", { class: "what" }, alert.severity),
    make("b", {}, alert.title),
    [alert.model, ...labels.map((label) => label.join(" ")), shard].filter(Boolean).join(", "),
    " · for ",
    make("time", {}, duration(state.at_s - alert.since_s)),
    " · ",
    make("a", { href: alert.runbook }, "runbook"),
  );
}

function showFigures() {
  const list = at("figures");
  const shown = state.figures.filter((figures) => chosen(figures.model));
  if (!shown.length) {
    list.replaceChildren(make("p", { class: "none" }, nothing()));
    return;
  }
  list.replaceChildren(...shown.flatMap((figures) => FIGURES.map(([name, title, unit, bound]) => {
    const label = shown.length > 1 ? `${title}, ${figures.model}` : title;
    const value = figures[name];
    const ill = bound !== undefined && value !== null && value > bound;
    const shownUnit = value === null || !unit ? null : make("small", {}, unit);
    return make(
      "div", {},
      make("dt", { title: label }, label),
      make("dd", { class: ill ? "ill" : null }, number(value), shownUnit),
      line(history.get(`${figures.model}/${name}`) ?? []),
    );
  })));
}

// Draws the values as a line, the latest at the right end; a null interrupts it.
function line(values) {
  const picture = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  picture.setAttribute("viewBox", `0 0 ${KEPT} 20`);
  picture.setAttribute("preserveAspectRatio", "none");
  picture.setAttribute("aria-hidden", "true");
  const top = Math.max(...values.filter((value) => value !== null), 1e-9);
  let path = "";
  let pen = "M";
  values.forEach((value, index) => {
    if (value === null) {
      pen = "M";
      return;
    }
    path += `${pen}${KEPT - values.length + index} ${(19 - 18 * value / top).toFixed(1)}`;
    pen = "L";
  });
  const drawn = document.createElementNS("http://www.w3.org/2000/svg", "path");
  drawn.setAttribute("d", path);
  picture.append(drawn);
  return picture;
}

function showObjectives() {
  const objectives = state.objectives.filter((objective) => !objective.model || chosen(objective.model));
  const rows = objectives.map(objectiveRow);
  if (!rows.length) rows.push(make("tr", {}, make("td", { colspan: 5, class: "quiet" }, nothing())));
  at("objectives").replaceChildren(...rows);
}

function objectiveRow(objective) {
  const promised = make("span", { class: "quiet" }, ` ${promiser(objective)}`);
  const name = make("td", { title: objective.says }, objective.title, promised);
  if (objective.kind !== "ratio") {
    const result = make("td", { colspan: 4, class: objective.kept === false ? "ill" : "quiet" }, objective.told);
    return make("tr", {}, name, result);
  }
  const burns = ["5m", "1h", "6h"].map((window) => {
    const burn = objective.burn[window];
    return make("td", { class: `number${burn > 1 ? " ill" : ""}` }, number(burn));
  });
  return make("tr", {}, name, ...burns, make("td", { class: "budget" }, ...budget(objective.left)));
}

// The budget that is left, as a bar and in percent; `left` is a ratio, or null where it isn't known.
function budget(left) {
  const percent = left === null ? null : `${Math.round(left * 100)} %`;
  const share = left === null ? 0 : Math.min(1, Math.max(0, left));
  const attributes = {
    class: `bar${left !== null && left < 0.5 ? " ill" : ""}`,
    role: "img",
    "aria-label": percent === null ? "unknown" : `${percent} left`,
  };
  return [make("span", attributes, make("i", { style: `width:${share * 100}%` })), percent ?? "–"];
}

// Says whose promise a row is, where that isn't plain: its model if there are several, and of the other labels those in
// which it differs from another row of the same objective and model.
function promiser(objective) {
  const same = state.objectives.filter((other) => other.name === objective.name && other.model === objective.model);
  const differs = ([name, value]) => same.some((other) => other.labels[name] !== value);
  const model = state.figures.length > 1 ? objective.model : null;
  const labels = Object.entries(objective.labels).filter(differs).map(([, value]) => value);
  return [model, ...labels].filter(Boolean).join(" ");
}

// Whether a label says what stands elsewhere on the page: the model's name, and the page's own environment.
const isKnown = (name, value) => name === "model" || (name === "environment" && value === state.environment);

function showGangs() {
  const rows = state.gangs.filter((gang) => chosen(gang.model)).map(gangRow);
  if (!rows.length) rows.push(make("tr", {}, make("td", { colspan: 9, class: "ill" }, "There is no replica.")));
  at("gangs").replaceChildren(...rows);
}

function gangRow(gang) {
  const used = gang.kv_blocks_total ? gang.kv_blocks_used / gang.kv_blocks_total : 0;
  const bar = make("span", { class: "bar" }, make("i", { style: `width:${used * 100}%` }));
  return make(
    "tr", {},
    make("td", {}, gang.model),
    make("td", {}, String(gang.shard)),
    make("td", { class: gang.state === "ready" ? null : "ill" }, gang.draining ? "draining" : gang.state),
    make("td", { class: "number" }, String(gang.running)),
    make("td", { class: "number" }, String(gang.waiting)),
    make("td", {}, bar, `${Math.round(used * 100)} %`),
    make("td", { class: "number" }, number(gang.heard_ms_ago)),
    make("td", { class: gang.gpu === null ? "quiet" : null }, gang.gpu === null ? "none here" : `${gang.gpu} %`),
    make("td", { class: "quiet" }, gang.replica_id),
  );
}

function chosen(model) {
  const wanted = at("model").value;
  return wanted === "" || wanted === model;
}

const nothing = () => (state.unmetered ? `Not known: ${state.unmetered}` : "Nothing is counted yet.");

function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

function number(value) {
  if (value === null || value === undefined) return "–";
  if (Number.isInteger(value)) return value.toLocaleString("en");
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString("en");
  return value.toFixed(Math.abs(value) >= 10 ? 1 : 2);
}

function duration(seconds) {
  if (seconds < 90) return `${Math.max(0, Math.round(seconds))} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

at("door").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", at("token").value.trim());
  showLink("asking");
});
at("model").addEventListener("change", () => state && show());
listen(at("strip"), at("strip-status"));
setInterval(() => {
  if (answeredOnce && performance.now() - heardMs > LOST_MS) showLink("no answer");
}, EVERY_MS);
ask();
