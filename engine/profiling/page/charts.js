// Head, verdict, phases, steps, roofline, flame, ring and loss.
(function head() {
  const about = profile.about, machine = about.machine || {}, versions = about.versions || {};
  at("machine").textContent = [machine.processor, machine.cores && `${machine.cores} cores`, machine.instructions,
    versions.mindspore && `MindSpore ${versions.mindspore}`, versions.cellwright && `Cellwright ${versions.cellwright}`]
    .filter(Boolean).join(" · ");
  const phase = Object.fromEntries(profile.phases.map((row) => [row.phase, row]));
  const flops = profile.kernels.reduce((sum, row) => sum + row.flops, 0);
  const rate = flops / profile.step_ms.median / 1e6, verdict = profile.verdict;
  const figures = [
    [milliseconds(profile.step_ms.median), `step, median of ${profile.step_ms.steps} (± ${milliseconds(profile.step_ms.spread / 2)})`],
    [`${number(profile.images_per_s)} <small>images/s</small>`, "all ranks"],
    [`${number(rate)} <small>GFLOP/s</small>`, profile.peaks.gflops ? `${percent(rate / profile.peaks.gflops, 0)} of this rank's peak` : ""],
    [percent(phase["data wait"] ? phase["data wait"].share : 0), "waiting for data"],
    [verdict && verdict.headroom ? `${number(verdict.headroom, 2)} <small>×</small>` : "–", "loader headroom"],
    [profile.ranks.length > 1 && verdict ? milliseconds(verdict.exposed_ms) : "–", "exposed allreduce"],
  ];
  at("figures").innerHTML = figures.map(([value, what]) => `<div class="figure"><b>${value}</b><span>${text(what)}</span></div>`).join("");
  if (!verdict) { at("verdict").remove(); return; }
  const [told] = verdict.text.split("Try first:");
  const gain = verdict.gain ? ` — expected gain up to <b>${verdict.gain.toFixed(2)} ×</b> images/s` : "";
  at("verdict").innerHTML = `<p id="verdicttext">${text(told.trim())}</p><p class="next">Try first: <span class="try">${text(verdict.flag)}</span>${gain}</p>`;
})();

(function phases() {
  at("phases").innerHTML = profile.phases.map((row) => `<div class="phase" title="${text(PHASE_MEANS[row.phase])}"><span>${text(row.phase)}</span>
    <span class="track"><i style="width:${Math.min(100, 100 * row.share)}%;background:var(${PHASE_COLOUR[row.phase]})"></i></span>
    <span class="number">${milliseconds(row.ms)} <small>${percent(row.share)}</small></span></div>`).join("");
})();

drawn(function steps() {
  const width = 560, height = 210, left = 52, bottom = 24, rows = profile.steps, svg = canvasFor("steps", width, height);
  const high = Math.max(...rows.map((row) => row.ms)) * 1.05, gap = (width - left) / rows.length;
  const y = (value) => (height - bottom) * (1 - value / high) + 4;
  for (const tick of ticks(0, high, 4)) {
    element("line", { x1: left, x2: width, y1: y(tick), y2: y(tick), class: "grid" }, svg);
    label(svg, left - 6, y(tick) + 4, tick ? `${number(tick)} ms` : "0", "end");
  }
  rows.forEach((row, k) => {
    let base = 0;
    for (const [name, value] of Object.entries(row.phases)) {
      if (value <= 0) continue;
      const bar = element("rect", { x: left + gap * (k + 0.14), width: gap * 0.72, y: y(base + value), height: Math.max(0, y(base) - y(base + value)),
        fill: css(PHASE_COLOUR[name]), rx: 1 }, svg);
      explain(bar, `step ${row.step}: ${milliseconds(row.ms)}\n${name}: ${milliseconds(value)}` + (row.compile_s ? `\ncompiled: ${number(row.compile_s)} s` : ""));
      base += value;
    }
    if (rows.length <= 24) label(svg, left + gap * (k + 0.5), height - 6, row.step, "middle");
  });
});

drawn(function roofline() {
  const rows = profile.kernels.filter((row) => row.flops > 0 && row.bytes > 0 && row.ms > 0), peaks = profile.peaks;
  if (!rows.length || !peaks.gflops) return empty("roofline", "No kernel with known FLOPs.");
  const width = 1180, height = 420, left = 62, bottom = 44, top = 12, right = 16, svg = canvasFor("roofline", width, height);
  const log = Math.log10, all = rows.map((row) => row.flops / row.bytes);
  const x0 = Math.floor(log(Math.min(...all, 0.1))), x1 = Math.ceil(log(Math.max(...all, 100)));
  const y0 = Math.floor(log(Math.max(0.01, Math.min(...rows.map((row) => row.gflops))))), y1 = Math.ceil(log(Math.max(peaks.gflops, ...rows.map((r) => r.gflops))));
  const x = (v) => left + ((log(v) - x0) / (x1 - x0)) * (width - left - right), y = (v) => top + (1 - (log(v) - y0) / (y1 - y0)) * (height - top - bottom);
  for (let k = x0; k <= x1; k++) {
    element("line", { x1: x(10 ** k), x2: x(10 ** k), y1: top, y2: height - bottom, class: "grid" }, svg);
    label(svg, x(10 ** k), height - bottom + 16, number(10 ** k), "middle");
  }
  for (let k = y0; k <= y1; k++) {
    element("line", { x1: left, x2: width - right, y1: y(10 ** k), y2: y(10 ** k), class: "grid" }, svg);
    label(svg, left - 8, y(10 ** k) + 4, number(10 ** k), "end");
  }
  label(svg, (left + width) / 2, height - 6, "FLOPs per byte that must be read or written", "middle");
  label(svg, 0, 0, "GFLOP/s", "middle").setAttribute("transform", `translate(14 ${height / 2}) rotate(-90)`);
  const ridge = peaks.gflops / peaks.gbytes, slope0 = Math.max(10 ** x0, 10 ** y0 / peaks.gbytes);
  const line = (a, b, c, d, dash) => element("line", { x1: x(a), y1: y(b), x2: x(c), y2: y(d), stroke: css("--ink"), "stroke-width": 1.4, "stroke-dasharray": dash || "" }, svg);
  line(slope0, slope0 * peaks.gbytes, ridge, peaks.gflops);
  line(ridge, peaks.gflops, 10 ** x1, peaks.gflops);
  label(svg, width - right - 4, y(peaks.gflops) - 7, `${number(peaks.gflops)} GFLOP/s, multiply-adds`, "end", "ink");
  if (peaks.matmul_gflops && peaks.matmul_gflops < 0.97 * peaks.gflops) {
    line(peaks.matmul_gflops / peaks.gbytes, peaks.matmul_gflops, 10 ** x1, peaks.matmul_gflops, "4 4");
    label(svg, width - right - 4, y(peaks.matmul_gflops) + 14, `${number(peaks.matmul_gflops)} GFLOP/s, matrix product (BLAS)`, "end");
  }
  const middle = slope0 * (ridge / slope0) ** 0.3, along = label(svg, 0, 0, `${number(peaks.gbytes)} GB/s, memory`, "middle", "ink");
  const angle = (Math.atan2(y(ridge * peaks.gbytes) - y(slope0 * peaks.gbytes), x(ridge) - x(slope0)) * 180) / Math.PI;
  along.setAttribute("transform", `translate(${x(middle)} ${y(middle * peaks.gbytes) - 7}) rotate(${angle})`);
  const most = Math.max(...rows.map((row) => row.ms)), lines = [...svg.querySelectorAll("text")];
  for (const row of [...rows].sort((a, b) => b.ms - a.ms)) {
    const dot = element("circle", { cx: x(row.flops / row.bytes), cy: y(Math.max(row.gflops, 10 ** y0)), r: 2.5 + 13 * Math.sqrt(row.ms / most),
      fill: css(DIRECTION_COLOUR[row.direction] || "--host"), "fill-opacity": 0.55, stroke: css("--card") }, svg);
    explain(dot, `${row.kind} ${row.layer}\n${row.direction || row.phase}\n${milliseconds(row.ms)} a step, ${number(row.gflops)} GFLOP/s, ` +
      `${number(row.gbytes)} GB/s\n${percent(row.of_peak, 0)} of the roof` + (row.of_peak > 1 ? " (operands in the cache)" : ""));
  }
  lines.forEach((one) => svg.appendChild(one)); // words over dots
  const legend = document.createElement("div");
  legend.className = "legend";
  legend.innerHTML = Object.keys(DIRECTION_COLOUR).filter((name) => rows.some((row) => row.direction === name))
    .map((name) => `<span><i style="background:var(${DIRECTION_COLOUR[name]})"></i>${text(name || "other")}</span>`).join("");
  at("roofline").appendChild(legend);
});

let flameRoot = null;
function flameTree() {
  const root = { name: about(), ms: 0, children: new Map() };
  function about() { return profile.about.net || "network"; }
  for (const row of profile.kernels) {
    const path = row.layer ? row.layer.split(".") : [row.kind === "threads waiting" ? "threads waiting" : "step"];
    path.push(`${row.kind}${row.direction && row.direction !== "forward" ? `, ${row.direction}` : ""}`);
    let node = root;
    node.ms += row.ms;
    for (const part of path) {
      if (!node.children.has(part)) node.children.set(part, { name: part, ms: 0, children: new Map(), parent: node, direction: row.direction });
      node = node.children.get(part);
      node.ms += row.ms;
    }
  }
  return root;
}
drawn(function flame() {
  flameRoot = flameRoot || flameTree();
  const width = 1180, line = 24, depthOf = (node) => 1 + Math.max(0, ...[...node.children.values()].map(depthOf));
  const svg = canvasFor("flame", width, line * depthOf(flameRoot));
  svg.classList.add("flame");
  const dark = css("--paper") < "#8";
  function colour(node, depth, index) {
    if (!node.children.size) return css(DIRECTION_COLOUR[node.direction] || "--host");
    return `hsl(${(210 + 47 * index + 9 * depth) % 360} ${dark ? 38 : 55}% ${dark ? 62 : 80 - 3 * depth}%)`;
  }
  function place(node, x, depth, index) {
    const wide = (width * node.ms) / flameRoot.ms;
    if (wide < 0.6) return;
    const box = element("rect", { x, y: depth * line, width: wide, height: line - 1, rx: 3, fill: colour(node, depth, index) }, svg);
    explain(box, `${fullName(node)}\n${milliseconds(node.ms)} a step, ${percent(node.ms / flameTree.total)} of all kernels`);
    box.addEventListener("click", () => { if (node.children.size) { flameRoot = node; hideTip(); flame(); } });
    const fits = Math.floor((wide - 8) / 6.3);
    if (fits > 2) label(svg, x + 5, depth * line + 16, node.name.length > fits ? `${node.name.slice(0, fits - 1)}…` : node.name);
    let start = x;
    [...node.children.values()].forEach((child, k) => { place(child, start, depth + 1, depth ? index + k : k); start += (width * child.ms) / flameRoot.ms; });
  }
  function fullName(node) { return node.parent ? (node.parent.parent ? `${fullName(node.parent)}.${node.name}` : node.name) : node.name; }
  if (!flameRoot.parent) flameTree.total = flameRoot.ms;
  place(flameRoot, 0, 0, 0);
  at("flameup").onclick = () => { while (flameRoot.parent) flameRoot = flameRoot.parent; flame(); };
});

function lines(id, series, unit, words) {
  const points = series.flatMap((one) => one.points);
  if (points.length < 2) return empty(id, words);
  const width = 560, height = 190, left = 44, bottom = 34, svg = canvasFor(id, width, height);
  const xs = points.map((p) => p[0]), ys = points.map((p) => p[1]), x0 = Math.min(...xs), x1 = Math.max(...xs);
  const pad = (Math.max(...ys) - Math.min(...ys) || 1) * 0.06, y0 = series[0].zero ? 0 : Math.min(...ys) - pad, y1 = Math.max(...ys) + pad;
  const x = (v) => left + ((v - x0) / (x1 - x0 || 1)) * (width - left - 8), y = (v) => 8 + (1 - (v - y0) / (y1 - y0 || 1)) * (height - bottom - 8);
  for (const tick of ticks(y0, y1, 4)) {
    element("line", { x1: left, x2: width - 8, y1: y(tick), y2: y(tick), class: "grid" }, svg);
    label(svg, left - 6, y(tick) + 4, number(tick), "end");
  }
  for (const tick of ticks(x0, x1, 6)) label(svg, x(tick), height - bottom + 16, number(tick), "middle");
  label(svg, (left + width) / 2, height - 3, unit, "middle");
  for (const one of series) {
    element("polyline", { points: one.points.map((p) => `${x(p[0])},${y(p[1])}`).join(" "), fill: "none", stroke: css(one.colour), "stroke-width": 2,
      "stroke-linejoin": "round", "stroke-dasharray": one.dash || "" }, svg);
    for (const p of one.points.length < 80 ? one.points : [])
      explain(element("circle", { cx: x(p[0]), cy: y(p[1]), r: 3, fill: css(one.colour) }, svg), `${one.name}: ${number(p[1], 4)}\n${unit} ${number(p[0])}`);
  }
}
drawn(() => lines("loss", [{ name: "loss", colour: "--accent", points: profile.loss.filter((p) => p[1] !== null) }], "step", "No finite loss."));
drawn(() => lines("ring", [
  { name: "batches in the ring", colour: "--gaps", dash: "4 3", zero: true, points: profile.ring.map((p) => [p[0], p[2]]) },
  { name: "batches ready", colour: "--forward", zero: true, points: profile.ring.map((p) => [p[0], p[1]]) },
], "ms; solid: ready, dashed: ready or in work", "The batches did not come from a ring."));
