// The table of kernels: sorts by any column, filters by words, groups by type or layer. And the table of ranks.
(function () {
  const spark = (row) => {
    const high = Math.max(...row.steps_ms), low = Math.min(...row.steps_ms), wide = 70 / row.steps_ms.length;
    if (!high) return "";
    const bars = row.steps_ms.map((value, k) => `<rect x="${(k * wide).toFixed(1)}" width="${(wide * 0.7).toFixed(1)}" y="${(18 - (18 * value) / high).toFixed(1)}" height="${((18 * value) / high).toFixed(1)}" fill="var(--accent)" opacity=".55"/>`);
    return `<svg viewBox="0 0 70 18"><title>${milliseconds(low)} to ${milliseconds(high)}</title>${bars.join("")}</svg>`;
  };
  const dot = (row) => `<span class="dot" style="background:var(${DIRECTION_COLOUR[row.direction] || "--host"})"></span>`;
  const COLUMNS = {
    kind: { name: "kernel", cell: (row) => (row.direction === undefined ? "" : dot(row)) + text(row.kind) },
    layer: { name: "layer", cell: (row) => text(row.layer) },
    direction: { name: "direction", cell: (row) => text(row.direction) },
    phase: { name: "phase", cell: (row) => text(row.phase) },
    source: { name: "by", cell: (row) => text(row.source) },
    ms: { name: "ms / step", right: 1, cell: (row) => number(row.ms) },
    share: { name: "share", right: 1, cell: (row) => `${percent(row.share)}<span class="share"><i style="width:${Math.min(100, 100 * row.share)}%"></i></span>` },
    spread_ms: { name: "spread", right: 1, cell: (row) => number(row.spread_ms, 2) },
    steps_ms: { name: "steps", cell: spark, sort: (row) => row.ms },
    count: { name: "count", right: 1, cell: (row) => number(row.count) },
    flops: { name: "MFLOP", right: 1, cell: (row) => number(row.flops / 1e6) },
    bytes: { name: "MB", right: 1, cell: (row) => number(row.bytes / 1e6) },
    gflops: { name: "GFLOP/s", right: 1, cell: (row) => (row.flops ? number(row.gflops) : "–") },
    gbytes: { name: "GB/s", right: 1, cell: (row) => (row.bytes ? number(row.gbytes) : "–") },
    of_peak: { name: "of roof", right: 1, cell: (row) => percent(row.of_peak, 0) },
  };
  const VIEWS = { kernels: "by kernel", types: "by type", layers: "by layer", phases: "by phase" };
  let view = "kernels", key = "ms", down = true;
  const table = at("kernels"), columns = () => Object.keys(COLUMNS).filter((name) => profile[view].length && name in profile[view][0]);

  function rows() {
    const words = at("filter").value.toLowerCase().split(/\s+/).filter(Boolean), value = COLUMNS[key].sort || ((row) => row[key]);
    const found = profile[view].filter((row) => {
      const all = [row.kind, row.layer, row.direction, row.phase, row.source].join(" ").toLowerCase();
      return words.every((word) => all.includes(word));
    });
    return found.sort((a, b) => {
      const x = value(a) ?? -Infinity, y = value(b) ?? -Infinity;
      return (x < y ? -1 : x > y ? 1 : 0) * (down ? -1 : 1);
    });
  }
  function show() {
    if (!columns().includes(key)) key = "ms";
    const shown = rows(), names = columns();
    table.tHead.innerHTML = `<tr>${names.map((name) => `<th tabindex="0" data-key="${name}" class="${COLUMNS[name].right ? "n" : ""}"${name === key ? ` aria-sort="${down ? "descending" : "ascending"}"` : ""}>${COLUMNS[name].name}</th>`).join("")}</tr>`;
    table.tBodies[0].innerHTML = shown.map((row) => `<tr data-ms="${row.ms}">${names.map((name) => `<td class="${COLUMNS[name].right ? "n" : ""}">${COLUMNS[name].cell(row)}</td>`).join("")}</tr>`).join("");
    const sum = shown.reduce((total, row) => total + row.ms, 0);
    at("count").textContent = `${shown.length} of ${profile[view].length} rows, ${milliseconds(sum)} a step. A kernel's time is its share of the wall clock; ` +
      "above 100 % of the roof its operands come from the caches.";
    for (const button of at("views").children) button.classList.toggle("on", button.dataset.view === view);
  }
  function sortBy(name) {
    down = name === key ? !down : !["kind", "layer", "direction", "phase", "source"].includes(name);
    key = name;
    show();
  }
  table.tHead.addEventListener("click", (event) => { const cell = event.target.closest("th"); if (cell) sortBy(cell.dataset.key); });
  table.tHead.addEventListener("keydown", (event) => { if (event.key === "Enter") sortBy(event.target.dataset.key); });
  at("filter").addEventListener("input", show);
  at("views").innerHTML = Object.entries(VIEWS).map(([name, words]) => `<button type="button" data-view="${name}">${words}</button>`).join("");
  at("views").addEventListener("click", (event) => { if (event.target.dataset.view) { view = event.target.dataset.view; show(); } });
  profile.phases.forEach((row) => { row.kind = row.phase; });
  show();

  const phases = profile.phases.map((row) => row.phase);
  at("ranks").innerHTML = `<table><thead><tr><th>rank</th><th>host</th><th>cores</th><th class="n">threads</th><th class="n">step</th>${phases.map((name) => `<th class="n">${name}</th>`).join("")}<th class="n">clock ±</th></tr></thead><tbody>` +
    profile.ranks.map((rank) => `<tr><td>${rank.rank}</td><td>${text(rank.host)}</td><td>${text(rank.cores.join(", "))}</td><td class="n">${rank.threads}</td><td class="n">${milliseconds(rank.ms)}</td>` +
      phases.map((name) => `<td class="n">${milliseconds(rank.phases[name] || 0)}</td>`).join("") + `<td class="n">${number(rank.clock_error_us)} µs</td></tr>`).join("") + "</tbody></table>";
  const cost = profile.overhead, parts = [];
  if (cost) parts.push(`Recording every kernel: a step of ${milliseconds(cost.plain_ms)} took ${milliseconds(cost.profiled_ms)} (${((100 * cost.profiled_ms) / cost.plain_ms - 100).toFixed(1)} %).`);
  if (profile.loader) parts.push(`Loader: ${profile.loader.workers} workers, busy ${percent(profile.loader.busy, 0)}; ms an image: ${Object.entries(profile.loader.ms_per_image).map(([name, value]) => `${name} ${number(value)}`).join(", ")}.`);
  if (profile.lost_events) parts.push(`${profile.lost_events} events were lost.`);
  at("footer").textContent = parts.join(" ");
})();
