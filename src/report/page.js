"use strict";
(function () {
  const tip = document.getElementById("tip");
  const live = document.getElementById("live");
  const time = (s) => {
    if (s < 1e-6) return "0s";
    if (s < 1e-3) return +(s * 1e6).toPrecision(3) + "µs";
    if (s < 1) return +(s * 1e3).toPrecision(3) + "ms";
    if (s < 60) return +s.toPrecision(3) + "s";
    const h = Math.floor(s / 3600), m = Math.floor((s % 3600) / 60), r = Math.round(s % 60);
    return (h ? h + "h" : "") + m + "m" + (h ? "" : r + "s");
  };
  const value = (v, d) => (d.share ? (v * 100).toFixed(1) + " %" : (+v.toPrecision(4)).toLocaleString("en"));
  const nearest = (xs, x) => {
    let a = 0, b = xs.length - 1;
    while (b - a > 1) { const m = (a + b) >> 1; if (xs[m] <= x) a = m; else b = m; }
    return x - xs[a] <= xs[b] - x ? a : b;
  };
  // What a chart says at x (seconds or a span) and, for heat maps and ribbons, at a row.
  const text = (d, x, row) => {
    if (d.kind === "lines") {
      const rows = d.series.filter((s) => s.x.length).map((s) => {
        const i = nearest(s.x, x);
        return [s.y[i], (s.name ? s.name + ": " : "") + value(s.y[i], d) + (d.log || d.share ? "" : " " + d.unit)];
      });
      return (d.log ? "within " : "at ") + time(x) + "\n" + rows.map((r) => r[1]).join("\n");
    }
    if (d.kind === "heat") {
      let c = d.edges.findIndex((e) => e > x) - 1;
      if (c < 0) c = d.edges.length - 2;
      const r = Math.max(0, Math.min(d.rows.length - 1, row));
      return d.rows[r] + "\n" + time(d.edges[c]) + " to " + time(d.edges[c + 1]) + "\n" + value(d.values[r][c], d) + (d.share ? "" : " " + d.unit);
    }
    const r = d.rows[Math.max(0, Math.min(d.rows.length - 1, row))];
    const s = r.spans.find((p) => x <= p[1]) || r.spans[r.spans.length - 1];
    return (r.name ? r.name + "\n" : "") + s[2] + "\n" + time(s[0]) + " to " + time(s[1]);
  };
  const table = (d) => {
    let head, rows;
    if (d.kind === "lines") {
      head = ["series", d.log ? "span" : "time", d.unit || "value"];
      rows = d.series.flatMap((s) => s.x.map((x, i) => [s.name, time(x), value(s.y[i], d)]));
    } else if (d.kind === "heat") {
      head = ["row", "from", "to", d.unit || "value"];
      rows = d.rows.flatMap((n, r) => d.values[r].map((v, c) => [n, time(d.edges[c]), time(d.edges[c + 1]), value(v, d)]).filter((_, c) => d.values[r][c] > 0));
    } else {
      head = ["run", "from", "to", "limit"];
      rows = d.rows.flatMap((r) => r.spans.map((s) => [r.name, time(s[0]), time(s[1]), s[2]]));
    }
    const t = document.createElement("table");
    const add = (cells, kind, to) => {
      const tr = to.insertRow();
      for (const c of cells) { const e = document.createElement(kind); e.textContent = c; if (kind === "th") e.scope = "col"; tr.append(e); }
    };
    add(head, "th", t.createTHead());
    const body = t.createTBody();
    for (const r of rows) add(r, "td", body);
    return t;
  };
  for (const svg of document.querySelectorAll("svg.chart")) {
    const figure = svg.closest("figure");
    const d = JSON.parse(figure.querySelector("script").textContent);
    const [left, top, width, height] = d.box;
    const [min, max] = d.range;
    const cross = svg.querySelector(".cross");
    const rows = d.kind === "lines" ? 1 : d.rows.length;
    let at = 0.5, row = 0;
    const show = (px, py, spoken) => {
      const raw = min + at * (max - min);
      const says = text(d, d.log ? Math.pow(10, raw) : raw, row);
      const x = left + at * width;
      for (const [k, v] of [["x1", x], ["x2", x], ["y1", top], ["y2", top + height], ["visibility", "visible"]]) cross.setAttribute(k, v);
      tip.textContent = says;
      tip.hidden = false;
      const w = tip.offsetWidth, h = tip.offsetHeight;
      tip.style.left = Math.max(4, px + w + 24 > innerWidth ? px - w - 14 : px + 14) + "px";
      tip.style.top = Math.max(4, py + h + 24 > innerHeight ? py - h - 14 : py + 14) + "px";
      if (spoken) live.textContent = says;
    };
    const hide = () => { tip.hidden = true; cross.setAttribute("visibility", "hidden"); };
    const rowAt = (y) => {
      const i = Math.floor(((y - top) / height) * rows);
      return d.kind === "heat" ? rows - 1 - i : i;
    };
    svg.addEventListener("pointermove", (e) => {
      const box = svg.getBoundingClientRect(), scale = svg.viewBox.baseVal.width / box.width;
      const x = (e.clientX - box.left) * scale, y = (e.clientY - box.top) * scale;
      if (x < left || x > left + width) return hide();
      at = (x - left) / width;
      row = rowAt(y);
      show(e.clientX, e.clientY, false);
    });
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("blur", hide);
    svg.addEventListener("keydown", (e) => {
      const dx = { ArrowLeft: -0.01, ArrowRight: 0.01 }[e.key], dy = { ArrowUp: 1, ArrowDown: -1 }[e.key];
      if (dx === undefined && (dy === undefined || rows === 1)) { if (e.key === "Escape") hide(); return; }
      e.preventDefault();
      at = Math.min(1, Math.max(0, at + (dx || 0) * (e.shiftKey ? 10 : 1)));
      row = Math.min(rows - 1, Math.max(0, row + (d.kind === "heat" ? 1 : -1) * (dy || 0)));
      const box = svg.getBoundingClientRect(), scale = box.width / svg.viewBox.baseVal.width;
      show(box.left + (left + at * width) * scale, box.top + (top + height / 2) * scale, true);
    });
    const details = document.createElement("details");
    const summary = document.createElement("summary");
    summary.textContent = "Data";
    details.append(summary);
    details.addEventListener("toggle", () => {
      if (!details.open || details.querySelector("table")) return;
      const scroll = document.createElement("div");
      scroll.className = "scroll";
      scroll.tabIndex = 0;
      scroll.setAttribute("role", "region");
      scroll.setAttribute("aria-label", "Data of the chart: " + svg.getAttribute("aria-label"));
      scroll.append(table(d));
      details.append(scroll);
    });
    figure.append(details);
  }
})();
