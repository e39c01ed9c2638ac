// The report of one timeslot, named by #EVENT. All figures are the gateway's;
// the table beside the chart says the same in text.
const byId = (id) => document.getElementById(id);
const known = (v) => v !== null && v !== undefined;
const event = decodeURIComponent(location.hash.slice(1));
const path = `../api/v1/timeslots/${encodeURIComponent(event)}/report`;
const pad = { left: 46, right: 10, top: 10, bottom: 22 };
let zone = "UTC", report = null, load = [];

const minus = (text) => (Number(text) === 0 ? text.replace("-", "") : text).replace("-", "−");
const kwh = (wh) => (known(wh) ? `${minus((wh / 1000).toFixed(2))} kWh` : "–");
const kw = (v) => (known(v) ? `${minus(v.toFixed(2))} kW` : "–");
const whole = (v) => (known(v) ? kwh(v * 1000) : "–");
const percent = (v) => (known(v) ? `${(100 * v).toFixed(1)} %` : "–");
const words = (code) => (code || "").replaceAll("-", " ");
const minutes = (m) => (m < 2 ? `${Math.round(60 * m)} s` : `${Math.round(m)} min`);

function time(t, options) {
  return new Intl.DateTimeFormat("en-GB", { timeZone: zone, ...options }).format(new Date(t));
}
const hm = (t) => time(t, { hour: "2-digit", minute: "2-digit" });
const date = (t) => time(t, { weekday: "short", day: "numeric", month: "short", year: "numeric" });

function fill(id, rows) {
  const t = byId(id), heads = [...t.tHead.rows[0].cells];
  t.parentElement.hidden = rows.length === 0;
  t.tBodies[0].replaceChildren(...rows.map((row) => {
    const tr = document.createElement("tr");
    row.forEach((text, j) => {
      const td = tr.insertCell();
      td.className = heads[j].className;
      td.dataset.label = heads[j].textContent;
      td.textContent = text;
    });
    return tr;
  }));
}

function show() {
  const r = report;
  document.title = `Report of ${date(r.start)} ${hm(r.start)} - nominald`;
  byId("title").textContent = `Report, ${words(r.state)}`;
  byId("when").textContent = `${date(r.start)} ${hm(r.start)}–${hm(r.end)} ${zone}`;
  byId("verdict").textContent = r.verdict || words(r.state);
  byId("label").textContent = `${r.label}. Timeslot ${r.event_id}.`;
  byId("baselegend").hidden = !r.intervals.some((v) => known(v.baseline_kw));
  fill("intervals", r.intervals.map((v) => [hm(v.start), kwh(v.target_wh), kwh(v.baseline_wh), kwh(v.load_wh), kwh(v.delivered_wh),
    kwh(v.paid_wh), kwh(v.shortfall_wh), `${Math.round(100 * v.coverage)} % ${words(v.quality)}`, v.cause_text || words(v.cause)]));
  fill("facts", facts(r).filter(([, text]) => text));
  fill("causes", r.shortfalls.map((s) => [minutes(s.minutes), s.text || words(s.reason), s.action || ""]));
  byId("shown").hidden = false;
  draw();
}

function facts(r) {
  const b = r.baseline_after ?? r.baseline, w = r.worst_interval, f = r.first_minutes, addend = b && (b.add_w ?? 0);
  const days = (b && b.days) || []; // none where it is laid down, or goes by the day itself
  return [
    ["Awarded, nominated", `${known(r.awarded_kw) ? kw(r.awarded_kw) : "all it can"}, ${kw(r.nominated_kw)}`],
    ["Delivered", `${whole(r.delivered_kwh)} of ${whole(r.target_kwh)}, ${kw(r.delivered_kw)} on average`],
    ["Ratio", percent(r.ratio)],
    ["Counts", `${whole(r.paid_kwh)}, ${words(r.cap)}`],
    ["Short", whole(r.shortfall_kwh)],
    ["Worst interval", w && `${hm(w.start)}, ${percent(w.ratio)}`],
    ["First minutes", f && `${whole(f.delivered_kwh)} of ${whole(f.target_kwh)} in ${minutes(f.minutes)}`],
    ["Began", known(r.late_s) && r.late_s >= 5 && `${Math.round(r.late_s)} s late`],
    ["Cancelled", r.cancelled_at && hm(r.cancelled_at)],
    ["Measured", `${percent(r.coverage)} of the time (${words(r.quality)})${r.reference ? `, against ${words(r.reference)}` : ""}`],
    ["Baseline", b && `${b.method}${days.length ? `, factor ${b.factor.toFixed(2)}` : ""}${addend ? `, moved by ${kw(addend / 1000)}` : ""}` +
      `${b.clamped ? " (at its limit)" : ""}${days.length || b.coverage < 1 ? `, ${percent(b.coverage)} of its load known` : ""}${b.note ? `, ${b.note}` : ""}`],
    ["Its days", days.join(", ")],
    ["Devices", r.devices.map((d) => `${d.name} ${kwh(d.delivered_wh)}`).join(", ")],
    ["Fixed", r.revision > 0 && `revision ${r.revision} of ${date(r.frozen_at)} ${hm(r.frozen_at)}`],
  ];
}

// ---- the chart

function element(name, attributes, text) {
  const e = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  if (text !== undefined) e.textContent = text;
  return e;
}

// steps makes a line of one level an interval; an unknown one leaves a gap.
function steps(level, x, y) {
  let d = "", last = null;
  for (const v of report.intervals) {
    const w = level(v);
    if (known(w)) d += `${known(last) ? "V" + y(w) : `M${x(v.start)} ${y(w)}`}H${x(v.end)}`;
    last = w;
  }
  return d;
}

// levelOf is where the load has to be: the baseline less the target; without a
// baseline it is the target itself, to be compared with the bars.
const levelOf = (v) => (known(v.baseline_kw) ? v.baseline_kw - v.target_kw : v.target_kw);

function scale() {
  const values = [0, 0.5, ...report.intervals.flatMap((v) => [v.load_kw, v.baseline_kw, v.delivered_kw, levelOf(v)]), ...load.map((p) => p.kw)].filter(known);
  const low = Math.min(...values), high = Math.max(...values);
  const power = 10 ** Math.floor(Math.log10((high - low) / 4));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= (high - low) / 4);
  const marks = [];
  for (let v = Math.floor(low / step) * step; v < high + step; v += step) marks.push(v);
  return { marks, decimals: step < 1 ? 1 : 0 };
}

function draw() {
  const svg = byId("chart"), width = svg.clientWidth, height = svg.clientHeight;
  if (!report || !width || !report.intervals.length) return;
  const { marks, decimals } = scale();
  const bottom = marks[0], top = marks[marks.length - 1];
  const begin = Date.parse(report.start), end = Date.parse(report.end);
  const x = (t) => Number((pad.left + ((new Date(t) - begin) / (end - begin)) * (width - pad.left - pad.right)).toFixed(1));
  const y = (v) => Number((height - pad.bottom - ((v - bottom) / (top - bottom)) * (height - pad.top - pad.bottom)).toFixed(1));
  const parts = [];
  for (const v of marks) {
    parts.push(element("line", { class: v === 0 ? "zero" : "grid", x1: pad.left, x2: width - pad.right, y1: y(v), y2: y(v) }));
    parts.push(element("text", { x: pad.left - 6, y: y(v) + 4, "text-anchor": "end" }, v.toFixed(decimals)));
  }
  const every = Math.ceil(report.intervals.length / Math.max(1, (width - 60) / 52));
  report.intervals.forEach((v, i) => {
    if (known(v.delivered_kw)) {
      const a = y(Math.max(0, v.delivered_kw)), b = y(Math.min(0, v.delivered_kw));
      parts.push(element("rect", { class: "bar", x: x(v.start) + 1, width: Math.max(1, x(v.end) - x(v.start) - 2), y: a, height: b - a }));
    }
    if (i % every === 0) parts.push(element("text", { x: x(v.start), y: height - 5, "text-anchor": i ? "middle" : "start" }, hm(v.start)));
  });
  parts.push(element("path", { class: "base", d: steps((v) => v.baseline_kw, x, y) }));
  parts.push(element("path", { class: "target", d: steps(levelOf, x, y) }));
  const line = load.length ? load.map((p, i) => `${i && p.t - load[i - 1].t < 150e3 ? "L" : "M"}${x(p.t)} ${y(p.kw)}`).join("") : steps((v) => v.load_kw, x, y);
  parts.push(element("path", { class: "load", d: line }));
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren(...parts);
  svg.setAttribute("aria-label", `${report.intervals.length} intervals: ${report.verdict || ""} The table below has the figures.`);
}

// ---- the link to the gateway

async function get(at) {
  const r = await fetch(at, { headers: { Accept: "application/json" } });
  if (r.status === 401) throw new Error("log in on the page first");
  if (!r.ok) throw new Error((await r.json().catch(() => ({}))).detail || `the gateway answered ${r.status}`);
  return r.json();
}

// minuteLoad is the measured load by minutes, as long as the log has it; the
// intervals' means stand in for it.
async function minuteLoad() {
  const rows = (await get(`../api/v1/load?${new URLSearchParams({ from: report.start, to: report.end, step: "60" })}`)).rows;
  const channel = report.load_channel || "site", sign = report.load_negated ? -1 : 1;
  load = rows.filter((row) => row.channel === channel && known(row.mean_w)).map((row) => ({ t: Date.parse(row.t) + 30e3, kw: sign * row.mean_w / 1000 }))
    .filter((p) => p.t < Date.parse(report.end));
  draw();
}

async function begin() {
  byId("csv").href = `${path}?format=csv`;
  byId("json").href = path;
  try {
    report = await get(path);
    zone = (await get("../api/v1/status").catch(() => null))?.site.timezone || "UTC";
    show();
  } catch (e) {
    byId("failed").textContent = `⚠ The report can not be shown: ${e.message}`;
    byId("failed").hidden = false;
    return;
  }
  minuteLoad().catch(() => {}); // the chart then keeps to the intervals
}

window.addEventListener("resize", draw);
window.addEventListener("hashchange", () => location.reload());
begin();
