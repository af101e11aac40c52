// The timeline: a canvas that can be moved and zoomed; one line for each track of each rank.
(function () {
  const lanes = profile.timeline, canvas = at("timeline").querySelector("canvas"), pen = canvas.getContext("2d");
  if (!lanes.length) { empty("timeline", "No spans."); return; }
  const NAMES = 150, LINE = 19, TOP = 24, ends = lanes.flatMap((lane) => lane.spans.map((span) => span[1] + span[2]));
  const first = 0, last = Math.max(...ends);
  const steps = (lanes.find((lane) => lane.track === "steps") || lanes[0]).spans;
  let from = first, to = last;
  function oneStep() {
    const step = [...steps].sort((a, b) => a[2] - b[2])[Math.floor(steps.length / 2)];
    from = step[1] - 0.04 * step[2];
    to = step[1] + 1.04 * step[2];
  }
  const toPixel = (time) => NAMES + ((time - from) / (to - from)) * (canvas.clientWidth - NAMES);
  const toTime = (pixel) => from + ((pixel - NAMES) / (canvas.clientWidth - NAMES)) * (to - from);

  function draw() {
    const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth, height = TOP + lanes.length * LINE + 4;
    canvas.style.height = `${height}px`;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    const font = getComputedStyle(document.body).fontFamily, colours = {};
    for (const [name, value] of Object.entries(PHASE_COLOUR)) colours[name] = css(value);
    pen.font = `11px ${font}`;
    pen.textBaseline = "middle";
    for (const tick of ticks(from, to, Math.max(3, Math.floor(width / 130)))) {
      pen.fillStyle = css("--grid");
      pen.fillRect(toPixel(tick), TOP - 6, 1, height);
      pen.fillStyle = css("--quiet");
      pen.textAlign = "center";
      if (toPixel(tick) > NAMES + 10) pen.fillText(milliseconds(tick), toPixel(tick), 9);
    }
    pen.save();
    pen.beginPath();
    pen.rect(NAMES, 0, width - NAMES, height);
    pen.clip();
    lanes.forEach((lane, k) => {
      const y = TOP + k * LINE;
      for (const [name, begin, wide, key] of lane.spans) {
        if (begin > to || begin + wide < from) continue;
        const x = toPixel(begin), w = Math.max(0.7, toPixel(begin + wide) - x);
        pen.fillStyle = colours[key] || colours.host;
        pen.fillRect(x, y, w > 3 ? w - 0.6 : w, LINE - 3);
        if (w > 46) {
          pen.fillStyle = key === "step" || key === "gaps" ? css("--ink") : "#fff";
          pen.textAlign = "left";
          pen.fillText(name.slice(0, Math.floor((Math.min(w, toPixel(to) - x) - 8) / 6)), Math.max(x, NAMES) + 4, y + LINE / 2 - 1);
        }
      }
    });
    pen.restore();
    pen.textAlign = "left";
    lanes.forEach((lane, k) => {
      pen.fillStyle = css("--ink");
      const named = profile.ranks.length > 1 ? `${lane.rank} · ${lane.track}` : lane.track;
      pen.fillText(named, 0, TOP + k * LINE + LINE / 2 - 1, NAMES - 10);
      if (k && lanes[k - 1].rank !== lane.rank) { pen.fillStyle = css("--line"); pen.fillRect(0, TOP + k * LINE - 2, width, 1); }
    });
  }
  function zoom(factor, around = (from + to) / 2) {
    const next = Math.min(last - first + 1, Math.max(0.002, (to - from) * factor)), share = (around - from) / (to - from);
    from = around - share * next;
    to = from + next;
    draw();
  }
  let grip = null;
  canvas.addEventListener("pointerdown", (event) => { grip = [event.clientX, from, to]; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointerup", () => { grip = null; });
  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    if (grip) {
      const moved = ((event.clientX - grip[0]) / (box.width - NAMES)) * (grip[2] - grip[1]);
      from = grip[1] - moved;
      to = grip[2] - moved;
      draw();
      return;
    }
    const lane = lanes[Math.floor((event.clientY - box.top - TOP) / LINE)], time = toTime(event.clientX - box.left), slack = (to - from) / box.width;
    const found = lane && [...lane.spans].reverse().find((span) => span[1] - slack <= time && time <= span[1] + span[2] + slack);
    if (found) showTip(event, `${found[0]}\n${milliseconds(found[2])}, at ${milliseconds(found[1])}\nrank ${lane.rank}, ${lane.track}`);
    else hideTip();
  });
  canvas.addEventListener("pointerleave", hideTip);
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    zoom(event.deltaY > 0 ? 1.25 : 0.8, toTime(event.clientX - canvas.getBoundingClientRect().left));
  }, { passive: false });
  at("zoomin").onclick = () => zoom(0.5);
  at("zoomout").onclick = () => zoom(2);
  at("zoomall").onclick = () => { from = first; to = last; draw(); };
  at("zoomstep").onclick = () => { oneStep(); draw(); };
  const used = new Set(lanes.flatMap((lane) => lane.spans.map((span) => span[3])));
  at("timelegend").innerHTML = Object.keys(PHASE_COLOUR).filter((name) => used.has(name))
    .map((name) => `<span><i style="background:var(${PHASE_COLOUR[name]})"></i>${text(name)}</span>`).join("");
  oneStep();
  drawn(draw);
  window.addEventListener("resize", draw);
})();
