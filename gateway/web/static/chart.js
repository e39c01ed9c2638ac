// The chart of the last minutes, drawn as SVG. Points are
// {t: ms, load, target, delivered} in W; null means unknown and leaves a gap.
export const chart = (() => {
  const windowMs = 15 * 60e3;
  const gapMs = 20e3; // a longer silence is not bridged by a line
  const pad = { left: 46, right: 10, top: 10, bottom: 22 };
  const svg = document.getElementById("chart");
  let points = [];
  let zone = "UTC";

  function add(point) {
    const last = points[points.length - 1];
    if (last && point.t <= last.t) return;
    points.push(point);
    const first = point.t - windowMs;
    while (points.length && points[0].t < first) points.shift();
  }

  // before puts older points in front of what the stream has brought so far.
  function before(older) {
    const end = points.length ? points[0].t : Infinity;
    points = older.filter((p) => p.t < end).concat(points);
  }

  // ticks returns round values that cover low to high, four or five of them.
  function ticks(low, high) {
    const raw = (high - low) / 4;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= raw);
    const out = [];
    for (let v = Math.floor(low / step) * step; v < high + step; v += step) out.push(v);
    return out;
  }

  function element(name, attributes, text) {
    const e = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
    if (text !== undefined) e.textContent = text;
    return e;
  }

  // line makes a path of one series; with base, closed down to it for filling.
  function line(series, x, y, base) {
    let d = "", open = false, lastT = 0, startX = 0;
    const close = () => {
      if (open && base !== undefined) d += `V${base}H${startX}Z`;
      open = false;
    };
    for (const p of points) {
      const v = p[series];
      if (v === null || v === undefined) { close(); continue; }
      if (open && p.t - lastT > gapMs) close();
      const px = x(p.t).toFixed(1), py = y(v).toFixed(1);
      d += open ? `L${px} ${py}` : `M${px} ${py}`;
      if (!open) startX = px;
      open = true;
      lastT = p.t;
    }
    close();
    return d;
  }

  function draw() {
    const width = svg.clientWidth, height = svg.clientHeight;
    if (!width || !points.length) return;
    const values = points.flatMap((p) => [p.load, p.target, p.delivered]).filter((v) => v !== null && v !== undefined);
    const low = Math.min(0, ...values), high = Math.max(500, ...values);
    const marks = ticks(low, high);
    const bottom = marks[0], top = marks[marks.length - 1];
    const end = points[points.length - 1].t, start = end - windowMs;
    const x = (t) => pad.left + ((t - start) / windowMs) * (width - pad.left - pad.right);
    const y = (w) => height - pad.bottom - ((w - bottom) / (top - bottom)) * (height - pad.top - pad.bottom);
    const parts = [];
    const decimals = top - bottom < 4000 ? 1 : 0;
    marks.forEach((w, i) => {
      parts.push(element("line", { class: w === 0 ? "zero" : "grid", x1: pad.left, x2: width - pad.right, y1: y(w), y2: y(w) }));
      const label = (w / 1000).toFixed(decimals) + (i === marks.length - 1 ? " kW" : "");
      parts.push(element("text", { x: pad.left - 6, y: y(w) + 4, "text-anchor": "end" }, label));
    });
    const clock = new Intl.DateTimeFormat("en-GB", { timeZone: zone, hour: "2-digit", minute: "2-digit" });
    const every = width < 500 ? 5 * 60e3 : 3 * 60e3;
    for (let t = Math.ceil(start / every) * every; t <= end; t += every) {
      if (x(t) < pad.left + 14 || x(t) > width - pad.right - 14) continue;
      parts.push(element("text", { x: x(t), y: height - 5, "text-anchor": "middle" }, clock.format(t)));
    }
    const base = y(0).toFixed(1);
    parts.push(element("path", { class: "fill", d: line("delivered", x, y, base) }));
    for (const series of ["delivered", "target", "load"]) {
      parts.push(element("path", { class: series, d: line(series, x, y) }));
    }
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.replaceChildren(...parts);
    svg.setAttribute("aria-label", `Last 15 minutes: site load from ${kw(points, "load", Math.min)} to ` +
      `${kw(points, "load", Math.max)} kW, delivered up to ${kw(points, "delivered", Math.max)} kW`);
  }

  function kw(all, series, pick) {
    const values = all.map((p) => p[series]).filter((v) => v !== null && v !== undefined);
    return values.length ? (pick(...values) / 1000).toFixed(1) : "unknown";
  }

  window.addEventListener("resize", draw);
  return { add, before, draw, setZone: (z) => { zone = z; } };
})();
