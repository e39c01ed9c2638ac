// The operator's page: shows each status that the stream brings and asks for
// STOP and resume. Everything from the gateway goes in as text, never as HTML.
import { chart } from "./chart.js";

const byId = (id) => document.getElementById(id);
const known = (v) => v !== null && v !== undefined;
const staleMs = 10e3; // the gateway publishes each second or two

let status = null;   // newest
let heardAt = 0;     // when it came, on this machine's clock
let source = null;   // EventSource
let retry = 0;       // timer

// ---- words and numbers

// kw writes W as kW: three figures are all that a meter is good for.
function kw(w) {
  if (!known(w)) return "–";
  const k = w / 1000;
  const text = k.toFixed(Math.abs(k) < 100 ? (Math.abs(k) < 10 ? 2 : 1) : 0);
  return (Number(text) === 0 ? text.replace("-", "") : text).replace("-", "−");
}

function span(seconds) {
  if (!known(seconds)) return "never";
  const s = Math.max(0, Math.round(seconds));
  if (s < 90) return `${s} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  return s < 172800 ? `${(s / 3600).toFixed(1)} h` : `${Math.round(s / 86400)} days`;
}

const words = (code) => (code || "").replaceAll("-", " ");
const reason = (x) => x.reason_text || words(x.reason);

function format(time, options) {
  const zone = status?.site.timezone || "UTC";
  try {
    return new Intl.DateTimeFormat("en-GB", { timeZone: zone, ...options }).format(new Date(time));
  } catch {
    return new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", ...options }).format(new Date(time));
  }
}
const hm = (t) => format(t, { hour: "2-digit", minute: "2-digit" });
const hms = (t) => format(t, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = (t) => format(t, { weekday: "short", day: "numeric", month: "short" });

function slotTime(slot) {
  const sameDay = day(slot.start) === day(status.now);
  const tomorrow = day(slot.start) === day(new Date(status.now).getTime() + 864e5);
  const end = day(slot.start) === day(slot.end) ? hm(slot.end) : `${day(slot.end)} ${hm(slot.end)}`;
  return `${sameDay ? "Today" : tomorrow ? "Tomorrow" : day(slot.start)} ${hm(slot.start)}–${end}`;
}

// ---- putting it on the page

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// list makes one li for each item: {text, kind, ...}.
function list(ul, items) {
  while (ul.children.length > items.length) ul.lastChild.remove();
  items.forEach((item, i) => {
    const li = ul.children[i] || ul.appendChild(document.createElement("li"));
    if (li.className !== item.kind) li.className = item.kind;
    const key = JSON.stringify(item.parts || item.text);
    if (li.dataset.key === key) return;
    li.dataset.key = key;
    li.replaceChildren(...(item.parts || [["", item.text]]).map(([tag, text, cls]) => {
      if (!tag) return document.createTextNode(text);
      const e = document.createElement(tag);
      e.textContent = text;
      if (cls) e.className = cls;
      return e;
    }));
  });
}

// table fills a table; a cell is text or {text, small, cls, href}. Cells that did
// not change are left alone, so that a selection survives the next second.
function table(id, rows) {
  const t = byId(id), body = t.tBodies[0], heads = [...t.tHead.rows[0].cells];
  t.hidden = rows.length === 0;
  t.nextElementSibling.hidden = rows.length !== 0;
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach((row, i) => {
    const tr = body.rows[i] || body.insertRow();
    if (tr.className !== (row.cls || "")) tr.className = row.cls || "";
    row.cells.forEach((cell, j) => {
      if (typeof cell === "string") cell = { text: cell };
      const td = tr.cells[j] || tr.insertCell();
      const key = JSON.stringify(cell);
      if (td.dataset.key === key) return;
      td.dataset.key = key;
      td.dataset.label = heads[j].textContent;
      td.className = [heads[j].className, cell.cls].filter(Boolean).join(" ");
      td.textContent = cell.href ? "" : cell.text || "";
      if (cell.href) {
        const a = td.appendChild(document.createElement("a"));
        a.href = cell.href;
        a.textContent = cell.text;
      }
      if (cell.small) td.appendChild(document.createElement("small")).textContent = cell.small;
    });
  });
}

function show() {
  document.body.classList.remove("waiting");
  setText(byId("site"), status.site.name || "nominald");
  setText(byId("zone"), status.site.timezone || "UTC");
  chart.setZone(status.site.timezone || "UTC");
  showBadges();
  showAlarms();
  showFigures();
  showDevices();
  showMeters();
  showNext();
  showEvents();
  byId("stop").hidden = status.stopped;
  byId("resume").hidden = !status.stopped;
  byId("stopped").hidden = !status.stopped;
  const by = status.stopped_by ? ` by ${status.stopped_by}` : "";
  setText(byId("stopped"), status.stopped ? `STOPPED${by}: all devices are left to themselves until somebody presses Resume.` : "");
  setText(byId("version"), `nominald ${status.version}`);
  const leap = status.leap;
  setText(byId("leapline"), leap.last_error ? `Leap: ${leap.last_error}` :
    known(leap.next_at) ? `Next Leap search ${hms(leap.next_at)}` : "");
}

function showBadges() {
  const { leap, clock, store } = status;
  const leapKind = !known(leap.age_s) ? "error" : leap.failures > 0 || leap.age_s > 300 ? "warning" : "ok";
  const badges = [
    status.armed ? { text: "● ARMED", kind: "ok" } : { text: "○ DRY RUN, devices are not written to", kind: "warning" },
    clock.trusted ? { text: "✓ Clock trusted", kind: "ok" } :
      { text: `⚠ Clock not trusted${clock.reason ? ": " + words(clock.reason) : ""}`, kind: "error" },
    {
      text: !known(leap.age_s) ? "⚠ Leap: no contact yet" :
        `${leapKind === "ok" ? "✓" : "⚠"} Leap ${span(leap.age_s)} ago${leap.failures ? `, ${leap.failures} failed since` : ""}`,
      kind: leapKind,
    },
  ];
  if (status.stopped) badges.unshift({ text: "■ STOPPED", kind: "error" });
  if (!store.ok) badges.push({ text: `⚠ Store: ${store.note || "failing"}`, kind: "error" });
  list(byId("badges"), badges);
}

function showAlarms() {
  const rank = (a) => (a.level === "error" ? 0 : 1);
  const alarms = [...status.alarms].sort((a, b) => rank(a) - rank(b));
  byId("alarms").hidden = alarms.length === 0;
  list(byId("alarms"), alarms.map((a) => ({
    kind: a.level === "error" ? "error" : "warning",
    parts: [
      ["b", a.level === "error" ? "⛔ Act" : "⚠ Note"],
      ["span", a.text || words(a.code)],
      ["span", a.since ? `since ${hms(a.since)}` : "", "since"],
    ],
  })));
}

// total adds a field over the meters that have it; null when none has.
function total(field) {
  const values = status.meters.map((m) => m[field]).filter(known);
  return values.length ? values.reduce((a, b) => a + b, 0) : null;
}

function showFigures() {
  const load = status.site_load_w, target = total("target_w"), delivered = total("delivered_w");
  setText(byId("load"), kw(load));
  const age = status.site_load_age_s;
  setText(byId("loadnote"), !known(load) ? "not known" :
    (load < 0 ? "export" : "import") + (known(age) && age > 5 ? `, measured ${span(age)} ago` : ""));
  setText(byId("target"), kw(target));
  setText(byId("targetnote"), targetNote(target));
  setText(byId("delivered"), kw(delivered));
  setText(byId("deliverednote"), known(target) && target > 0 && known(delivered) ?
    `${Math.round((100 * delivered) / target)} % of the target` : known(delivered) ? "" : "no timeslot running");
  const title = known(target) && known(delivered) ? `${kw(delivered)} of ${kw(target)} kW` : `${kw(load)} kW`;
  document.title = `${status.stopped ? "STOPPED " : ""}${title} · ${status.site.name}`;
}

function targetNote(target) {
  const until = status.meters.map((m) => m.until).filter(known).sort()[0];
  if (known(target)) return until ? `until ${hm(until)}` : "running";
  const next = status.next.find((s) => s.state === "pending" || s.state === "armed");
  return next ? `next: ${slotTime(next)}` : "no timeslot ahead";
}

function showDevices() {
  const now = new Date(status.now);
  table("devices", status.devices.map((d) => {
    const left = d.lease_until ? (new Date(d.lease_until) - now) / 1000 : null;
    const seen = d.last_seen ? `last seen ${hms(d.last_seen)}` : "never seen";
    return {
      cls: d.online ? "" : "offline",
      cells: [
        { text: d.name, small: `${d.kind}, ${d.profile}`, cls: "strong" },
        d.online ? { text: "✓ online" } : { text: "✗ offline", small: seen, cls: "bad" },
        known(d.power_w) ? `${kw(d.power_w)} kW` : "–",
        d.setpoint || (known(d.setpoint_w) ? `${kw(d.setpoint_w)} kW` : d.kind === "meter" ? "" : "–"),
        { text: known(d.soc) ? `${Math.round(d.soc)} %` : "", small: known(d.limits.reserve_soc) ? `keeps ${d.limits.reserve_soc} %` : "" },
        { text: left !== null && left > 0 ? span(left) : "", small: left !== null && !d.fallback ? "no own timer" : "" },
        { text: reason(d), small: d.last_error },
      ],
    };
  }));
}

function showMeters() {
  table("meters", status.meters.map((m) => {
    const i = m.interval;
    return {
      cells: [
        { text: m.id.length > 18 ? m.id.slice(0, 8) + "…" : m.id, small: `against ${words(m.reference)}`, cls: "strong" },
        { text: m.state },
        known(m.target_w) ? `${kw(m.target_w)} kW` : "–",
        { text: known(m.delivered_w) ? `${kw(m.delivered_w)} kW` : "–", small: m.shortfall_w > 0 ? `short of ${kw(m.shortfall_w)} kW` : "" },
        i ? { text: `${kw(i.delivered_wh)} of ${kw(i.target_wh)} kWh`, small: `since ${hm(i.start)}` } : "–",
        { text: reason(m) },
      ],
    };
  }));
}

const reportOf = (s) => `static/report.html#${encodeURIComponent(s.event_id)}`;

// slotRow is a timeslot; one that has begun has a report.
function slotRow(s) {
  const notes = [s.cap && words(s.cap), s.voluntary && "voluntary", s.communication_test && "communication test",
    s.integration_test && "integration test", s.priority && `priority ${s.priority}`, s.problem, reason(s)];
  const begun = new Date(s.start) <= new Date(status.now) && s.state !== "invalid";
  return {
    cells: [
      { text: slotTime(s), cls: "strong", href: begun ? reportOf(s) : "" }, { text: s.state },
      known(s.energy_kw) ? `${kw(s.energy_kw * 1000)} kW` : "all it can",
      known(s.nomination_kw) ? `${kw(s.nomination_kw * 1000)} kW` : "–",
      (s.programs || []).join(", "), { text: notes.filter(Boolean).join(", ") },
    ],
  };
}

function showNext() {
  table("next", status.next.map(slotRow));
}

// showPast lists the timeslots of the last two weeks that ended, newest first.
async function showPast() {
  try {
    const r = await fetch("api/v1/timeslots?from=-14d&to=now");
    if (!r.ok || !status) return;
    const ended = (await r.json()).filter((s) => new Date(s.end) <= new Date(status.now) || s.state === "cancelled");
    ended.sort((a, b) => new Date(b.start) - new Date(a.start));
    table("past", ended.slice(0, 10).map(slotRow));
  } catch { /* it is asked again */ }
}

// showEvents lists the latest of what was lost, came back, or was done by a
// person; the status holds some more.
function showEvents() {
  table("events", status.events.slice(0, 12).map((e) => ({
    cells: [
      { text: `${day(e.at)} ${hms(e.at)}`, cls: "when" },
      { text: e.text, cls: e.kind.endsWith("-lost") || e.kind === "owner-stop" ? "bad" : "" },
    ],
  })));
}

// ---- the link to the gateway

function heard(next) {
  const first = !status;
  status = next;
  heardAt = Date.now();
  chart.add({ t: Date.parse(status.now), load: status.site_load_w, target: total("target_w"), delivered: total("delivered_w") });
  show();
  chart.draw();
  tick();
  if (first) showPast();
}

function connect() {
  clearTimeout(retry);
  source?.close();
  source = new EventSource("api/v1/stream");
  source.addEventListener("status", (e) => heard(JSON.parse(e.data)));
  source.onerror = () => {
    // The browser tries again by itself unless it was refused.
    if (source.readyState === EventSource.CLOSED) probe();
    else lost("");
  };
}

// probe finds out why the stream was refused. While other pages hold all
// streams, this asks for the status every few seconds instead.
async function probe() {
  clearTimeout(retry);
  try {
    const r = await fetch("api/v1/status");
    if (r.status === 401) return askToken();
    if (r.ok) heard(await r.json());
    else lost("");
  } catch {
    lost("");
  }
  retry = setTimeout(connect, 3000);
}

function lost(why) {
  const since = status ? `: the values below are from ${hms(status.now)}` : "";
  setText(byId("lost"), `⚠ ${why || "Connection to the gateway lost"}${since}. Trying again.`);
  byId("lost").hidden = false;
  document.body.classList.add("lost");
}

// tick runs each second: the time goes on, and silence is noticed.
function tick() {
  if (!status) return;
  const silent = Date.now() - heardAt;
  setText(byId("localtime"), `${day(status.now)}, ${hms(Date.parse(status.now) + silent)} ${status.site.timezone || "UTC"}`);
  if (silent > staleMs) return lost(`No news from the gateway for ${span(silent / 1000)}`);
  if (source?.readyState === EventSource.CONNECTING) return;
  byId("lost").hidden = true;
  document.body.classList.remove("lost");
}

// history fills the chart with what was measured before the page was opened.
async function history() {
  try {
    const r = await fetch("api/v1/load?from=-15m&step=5");
    if (!r.ok) return;
    const rows = (await r.json()).rows.filter((row) => row.channel === "site");
    chart.before(rows.map((row) => ({ t: Date.parse(row.t), load: row.mean_w, target: null, delivered: null })));
    chart.draw();
  } catch { /* the chart then starts empty */ }
}

async function post(path, body) {
  return fetch(path, { method: "POST", body });
}

// ask shows what a change does; only the button that names it does it. The
// button's own click counts, not the dialog's close event, which may come late
// and then belong to the dialog before.
function ask(path, title, text, yes) {
  setText(byId("confirmtitle"), title);
  setText(byId("confirmtext"), text);
  setText(byId("confirmyes"), yes);
  byId("confirmyes").onclick = () => change(path, yes);
  byId("confirm").showModal();
}

async function change(path, what) {
  let problem = "";
  try {
    const r = await post(path);
    if (r.status === 401) askToken();
    if (!r.ok) problem = (await r.json().catch(() => ({}))).detail || `the gateway answered ${r.status}`;
  } catch {
    problem = "the gateway did not answer";
  }
  byId("failed").hidden = !problem;
  setText(byId("failed"), problem && `⚠ ${what} was NOT done: ${problem}`);
}

function askToken() {
  if (!byId("login").open) byId("login").showModal();
}

byId("loginform").addEventListener("submit", async (e) => {
  e.preventDefault();
  let text = "The gateway did not answer.";
  try {
    const r = await post("api/v1/login", new URLSearchParams({ token: byId("token").value }));
    text = r.ok ? "" : (await r.json()).detail;
  } catch { /* text says it */ }
  setText(byId("loginerror"), text);
  if (text) return;
  byId("token").value = "";
  byId("login").close();
  byId("logout").hidden = false;
  connect();
  history();
});
byId("logout").addEventListener("click", async () => {
  await post("api/v1/logout");
  location.reload();
});
byId("stop").addEventListener("click", () => ask("api/v1/stop", "Stop everything?",
  "All devices go back to what they do by themselves, and no timeslot is followed until somebody presses Resume. A running timeslot will fall short.", "STOP"));
byId("resume").addEventListener("click", () => ask("api/v1/resume", "Resume?",
  "The gateway takes up timeslots again, the running one at once.", "Resume"));
// A page that nobody looks at gives its stream back.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) source?.close();
  else connect();
});

setInterval(tick, 1000);
setInterval(showPast, 60e3);
connect();
history();
