// The console: asks /console/state once a second and shows it. Knows nothing but that answer (actors/gateway/console_api.py); keeps five
// minutes of figures for the lines, and no content: there is none in the answer.
import { draw, tell } from "./strip.js";

const EVERY_MS = 1000, LOST_MS = 5000, KEPT = 300;
const at = (id) => document.getElementById(id);
const history = new Map(); // "model/figure" to its latest values
let state = null, heardMs = 0, answeredOnce = false;

const FIGURES = [
  ["itl_p99_ms", "Token latency p99", "ms", 300], ["itl_p95_ms", "Token latency p95", "ms"], ["itl_p50_ms", "Token latency p50", "ms", 50],
  ["ttft_p99_ms", "First token p99", "ms", 2500], ["tokens_per_s", "Tokens a second", ""], ["requests_per_s", "Requests a second", ""],
  ["failed_share", "Failed", "%", 1], ["waiting", "Waiting", ""], ["running", "Running", ""],
];

function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null && value !== false) made.setAttribute(name, value);
  made.append(...children.filter((child) => child !== null));
  return made;
}

function number(value, unit = "") {
  if (value === null || value === undefined) return "–";
  const told = Number.isInteger(value) ? value.toLocaleString("en") : Math.abs(value) >= 100 ? Math.round(value).toLocaleString("en") : Math.abs(value) >= 10 ? value.toFixed(1) : value.toFixed(2);
  return told + unit;
}

function ago(seconds) {
  if (seconds < 90) return `${Math.max(0, Math.round(seconds))} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

async function look() {
  const asked = new AbortController();
  const limit = setTimeout(() => asked.abort(), LOST_MS);
  try {
    const answer = await fetch("/console/state", { signal: asked.signal, cache: "no-store", headers: token() ? { authorization: `Bearer ${token()}` } : {} });
    at("door").hidden = answer.status !== 401;
    if (!answer.ok) throw new Error((await answer.json().catch(() => null))?.error?.message ?? `HTTP ${answer.status}`);
    state = await answer.json();
    heardMs = performance.now();
    answeredOnce = true;
    remember(state);
    show();
  } catch (error) {
    link(error.name === "AbortError" ? "no answer" : error.message);
  } finally {
    clearTimeout(limit);
    setTimeout(look, EVERY_MS);
  }
}

const token = () => sessionStorage.getItem("token"); // the operator's, kept until the tab is closed

function link(trouble = null) {
  const silentMs = performance.now() - heardMs;
  const said = at("link");
  const lost = trouble !== null && (!answeredOnce || silentMs > LOST_MS);
  document.body.toggleAttribute("data-stale", lost && answeredOnce);
  said.dataset.state = lost ? "lost" : trouble ? "waiting" : "live";
  const text = lost
    ? answeredOnce ? `lost: nothing heard for ${ago(silentMs / 1000)} (${trouble})` : `calmops can't be reached (${trouble})`
    : trouble ? "waiting" : "live";
  if (said.textContent !== text) said.textContent = text;
}

function remember(now) {
  for (const model of now.figures)
    for (const [name] of FIGURES) {
      const key = `${model.model}/${name}`;
      const values = history.get(key) ?? [];
      values.push(model[name] ?? null);
      if (values.length > KEPT) values.shift();
      history.set(key, values);
    }
}

function show() {
  link();
  at("where").textContent = `${state.environment} · gateway ${state.gateway} · ${state.version}`;
  models();
  alerts();
  figures();
  objectives();
  gangs();
  draw(at("strip"), state.requests.filter((one) => chosen(one.model)), state.unmetered);
  at("hidden").textContent = state.hidden ? `and ${state.hidden} more live requests, for which there is no room` : "";
}

const nothing = () => (state.unmetered ? `Not known: ${state.unmetered}` : "Nothing was counted yet.");

function chosen(model) {
  const wanted = at("model").value;
  return wanted === "" || wanted === model;
}

function models() {
  const select = at("model"), names = state.figures.map((one) => one.model);
  const known = [...select.options].slice(1).map((option) => option.value);
  if (known.join() === names.join()) return;
  const before = select.value;
  select.replaceChildren(make("option", { value: "" }, "all"), ...names.map((name) => make("option", { value: name }, name)));
  if (names.includes(before)) select.value = before;
}

function alerts() {
  const list = at("alerts"), firing = state.alerts.filter((one) => !one.model || chosen(one.model));
  const key = JSON.stringify([firing.map((one) => [one.alert, one.model, one.version, one.variant, one.shard, one.severity]), state.alerts_unknown]);
  if (list.dataset.key === key) {
    list.querySelectorAll("time").forEach((time, index) => { time.textContent = ago(state.at_s - firing[index].since_s); });
    return;
  }
  list.dataset.key = key;
  if (state.alerts_unknown) list.replaceChildren(make("li", { class: "ticket" }, `Not known: ${state.alerts_unknown}`));
  else if (!firing.length) list.replaceChildren(make("li", {}, "No alert fires."));
  else list.replaceChildren(...firing.map((one) => make("li", { class: one.severity },
    make("span", { class: "what" }, one.severity), make("b", {}, one.title), [one.model, one.version && `version ${one.version}`, one.variant, one.shard === null ? null : `shard ${one.shard}`].filter(Boolean).join(", "),
    " · for ", make("time", {}, ago(state.at_s - one.since_s)), " · ", make("a", { href: one.runbook }, "runbook"))));
}

function figures() {
  const shown = state.figures.filter((one) => chosen(one.model)), list = at("figures");
  if (!shown.length) return list.replaceChildren(make("p", { class: "none" }, nothing()));
  const several = shown.length > 1;
  list.replaceChildren(...shown.flatMap((model) => FIGURES.map(([name, title, unit, bound]) => {
    const value = model[name], ill = bound !== undefined && value !== null && value > bound;
    return make("div", {}, make("dt", { title: several ? `${title}, ${model.model}` : title }, several ? `${title}, ${model.model}` : title),
      make("dd", { class: ill ? "ill" : null }, number(value), value === null || !unit ? null : make("small", {}, unit)), line(history.get(`${model.model}/${name}`) ?? []));
  })));
}

function line(values) {
  const picture = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  picture.setAttribute("viewBox", `0 0 ${KEPT} 20`);
  picture.setAttribute("preserveAspectRatio", "none");
  picture.setAttribute("aria-hidden", "true");
  const top = Math.max(...values.filter((value) => value !== null), 1e-9);
  let path = "", pen = "M";
  values.forEach((value, index) => {
    if (value === null) { pen = "M"; return; }
    path += `${pen}${KEPT - values.length + index} ${(19 - 18 * value / top).toFixed(1)}`;
    pen = "L";
  });
  const drawn = document.createElementNS("http://www.w3.org/2000/svg", "path");
  drawn.setAttribute("d", path);
  picture.append(drawn);
  return picture;
}

function objectives() {
  const rows = state.objectives.filter((one) => !one.model || chosen(one.model));
  at("objectives").replaceChildren(...rows.map((one) => {
    const burn = (value) => make("td", { class: `number${value > 1 ? " ill" : ""}` }, number(value));
    const name = make("td", { title: one.says }, one.title, make("span", { class: "quiet" }, ` ${which(one)}`));
    if (one.kind !== "ratio") return make("tr", {}, name, make("td", { colspan: 4, class: one.kept === false ? "ill" : "quiet" }, one.told));
    const left = one.left, share = left === null ? 0 : Math.min(1, Math.max(0, left));
    const bar = make("span", { class: `bar${left !== null && left < 0.5 ? " ill" : ""}`, role: "img", "aria-label": left === null ? "unknown" : `${Math.round(left * 100)} % left` }, make("i", { style: `width:${share * 100}%` }));
    return make("tr", {}, name, burn(one.burn["5m"]), burn(one.burn["1h"]), burn(one.burn["6h"]), make("td", { class: "budget" }, bar, left === null ? "–" : `${Math.round(left * 100)} %`));
  }));
  if (!rows.length) at("objectives").replaceChildren(make("tr", {}, make("td", { colspan: 5, class: "quiet" }, nothing())));
}

// Whose promise a row is, as far as it isn't plain: the model where there are several, its release where it has several.
function which(one) {
  const same = state.objectives.filter((other) => other.name === one.name && other.model === one.model);
  return [state.figures.length > 1 ? one.model : null, ...(same.length > 1 ? [one.version, one.variant] : [])].filter(Boolean).join(" ");
}

function gangs() {
  const rows = state.gangs.filter((one) => chosen(one.model));
  at("gangs").replaceChildren(...rows.map((one) => {
    const used = one.kv_blocks_total ? one.kv_blocks_used / one.kv_blocks_total : 0;
    return make("tr", {}, make("td", {}, one.model), make("td", {}, String(one.shard)), make("td", { class: one.state === "ready" ? null : "ill" }, one.draining ? "draining" : one.state),
      make("td", { class: "number" }, String(one.running)), make("td", { class: "number" }, String(one.waiting)),
      make("td", {}, make("span", { class: "bar" }, make("i", { style: `width:${used * 100}%` })), `${Math.round(used * 100)} %`),
      make("td", { class: "number" }, number(one.heard_ms_ago)), make("td", { class: one.gpu === null ? "quiet" : null }, one.gpu === null ? "none here" : `${one.gpu} %`), make("td", { class: "quiet" }, one.replica_id));
  }));
  if (!rows.length) at("gangs").replaceChildren(make("tr", {}, make("td", { colspan: 9, class: "ill" }, "No replica is there.")));
}

at("door").addEventListener("submit", (event) => { event.preventDefault(); sessionStorage.setItem("token", at("token").value.trim()); link("asking"); });
at("model").addEventListener("change", () => state && show());
tell(at("strip"), at("told"));
setInterval(() => { if (answeredOnce && performance.now() - heardMs > LOST_MS) link("no answer"); }, EVERY_MS);
look();
