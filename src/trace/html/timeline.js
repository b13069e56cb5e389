// SPDX-License-Identifier: Apache-2.0
// The timeline: a row for each vCPU. Far away, each pixel shows how its time was shared between guest, KVM and
// VMM, from sums made once; near, slices have names. Either way the work is that of the pixels in sight.

const STATE_NAMES = ["unknown", "in the guest", "in KVM", "in the VMM", "halted"];
const STATE_COLOURS = ["--unknown", "--guest", "--kvm", "--user", "--halted"];
const LANE_HEIGHT = 46, AXIS = 24, NAMES = 64, MOST_LANES = 64, NEAR = 1500;

class Timeline {
  constructor(trace, parts, onFlow) {
    Object.assign(this, {trace, onFlow}, parts); // canvas, range, picked, legend, button
    this.cpus = trace.vcpus.map((id, cpu) => cpu).sort((a, b) => trace.vcpus[a] - trace.vcpus[b]).slice(0, MOST_LANES);
    this.all = [trace.first, Math.max(trace.last, trace.first + 1000)];
    [this.from, this.to] = this.all;
    this.pick = null;
    this.listen();
    this.legend.replaceChildren(...STATE_NAMES.map((name, i) => element("span", {}, element("i", {style: `background:var(${STATE_COLOURS[i]})`}), name)),
      element("span", {}, element("i", {style: "background:var(--ve)"}), "#VE"));
    if (trace.vcpus.length > MOST_LANES)
      this.legend.append(element("span", {}, `The first ${MOST_LANES} of ${count(trace.vcpus.length)} vCPUs.`));
  }

  listen() {
    const c = this.canvas;
    c.addEventListener("wheel", (e) => { e.preventDefault(); this.zoom(e.deltaY > 0 ? 1.25 : .8, this.timeAt(e.offsetX)); }, {passive: false});
    c.addEventListener("pointerdown", (e) => { this.drag = {x: e.offsetX, from: this.from, moved: false}; c.setPointerCapture(e.pointerId); });
    c.addEventListener("pointermove", (e) => this.move(e));
    c.addEventListener("pointerup", (e) => { if (this.drag && !this.drag.moved) this.pickAt(e.offsetX, e.offsetY); this.drag = null; });
    c.addEventListener("dblclick", () => this.flow());
    c.addEventListener("keydown", (e) => this.key(e));
    this.button.addEventListener("click", () => this.flow());
    new ResizeObserver(() => this.draw()).observe(c);
  }

  get width() { return Math.max(50, this.canvas.clientWidth - NAMES); }
  timeAt(x) { return this.from + (x - NAMES) / this.width * (this.to - this.from); }
  xAt(time) { return NAMES + (time - this.from) / (this.to - this.from) * this.width; }

  look(from, to) {
    const span = Math.min(Math.max(to - from, 50), this.all[1] - this.all[0]);
    this.from = Math.max(this.all[0], Math.min(from, this.all[1] - span));
    this.to = this.from + span;
    this.draw();
  }

  zoom(factor, around) { this.look(around - (around - this.from) * factor, around + (this.to - around) * factor); }

  move(e) {
    if (!this.drag)
      return;
    const dx = e.offsetX - this.drag.x, span = this.to - this.from;
    if (Math.abs(dx) > 3)
      this.drag.moved = true;
    if (this.drag.moved)
      this.look(this.drag.from - dx / this.width * span, this.drag.from - dx / this.width * span + span);
  }

  key(e) {
    const span = this.to - this.from, middle = this.pick && this.pickTime() >= this.from && this.pickTime() <= this.to ? this.pickTime() : (this.from + this.to) / 2;
    const act = {"+": () => this.zoom(.5, middle), "=": () => this.zoom(.5, middle), "-": () => this.zoom(2, middle), "0": () => this.look(...this.all),
      ArrowLeft: () => this.look(this.from - span / 5, this.to - span / 5), ArrowRight: () => this.look(this.from + span / 5, this.to + span / 5),
      "[": () => this.next(-1), "]": () => this.next(1), Enter: () => this.flow()}[e.key];
    if (!act)
      return;
    e.preventDefault();
    act();
  }

  pickTime() { return this.trace.lane(this.pick.cpu).times[this.pick.k]; }

  // The event nearest to a point.
  pickAt(x, y) {
    const cpu = this.cpus[Math.floor((y - AXIS) / LANE_HEIGHT)];
    if (cpu === undefined)
      return;
    const {times} = this.trace.lane(cpu), time = this.timeAt(x);
    let k = Math.min(times.length - 1, Trace.lower(times, time));
    if (k > 0 && time - times[k - 1] < times[k] - time)
      --k;
    this.choose({cpu, k});
  }

  next(step) {
    const pick = this.pick || {cpu: this.cpus[0], k: Trace.lower(this.trace.lane(this.cpus[0]).times, this.from) - step};
    const {times} = this.trace.lane(pick.cpu), k = Math.max(0, Math.min(times.length - 1, pick.k + step)), span = this.to - this.from;
    if (times[k] < this.from || times[k] > this.to)
      this.look(times[k] - span / 2, times[k] + span / 2);
    this.choose({cpu: pick.cpu, k});
  }

  choose(pick) {
    this.pick = pick;
    const event = this.trace.event(this.trace.lane(pick.cpu).list[pick.k]);
    this.picked.replaceChildren(...eventFields(this.trace, event, true));
    this.button.hidden = false;
    this.draw();
  }

  flow() {
    if (this.pick)
      this.onFlow(this.trace.lane(this.pick.cpu).list[this.pick.k]);
  }

  draw() {
    if (!this.canvas.offsetParent)
      return;
    const height = AXIS + LANE_HEIGHT * this.cpus.length, scale = window.devicePixelRatio || 1;
    this.canvas.style.height = height + "px";
    this.canvas.width = Math.round(this.canvas.clientWidth * scale);
    this.canvas.height = Math.round(height * scale);
    const style = getComputedStyle(document.documentElement), c = this.canvas.getContext("2d");
    this.colours = STATE_COLOURS.map((name) => style.getPropertyValue(name));
    this.ink = {text: style.getPropertyValue("--text"), quiet: style.getPropertyValue("--quiet"), line: style.getPropertyValue("--line"), ve: style.getPropertyValue("--ve")};
    c.scale(scale, scale);
    c.font = "11px system-ui, sans-serif";
    this.axis(c, height);
    let shown = 0;
    this.cpus.forEach((cpu, row) => { shown += this.lane(c, cpu, AXIS + row * LANE_HEIGHT); });
    this.range.textContent = `${moment(this.from)} s to ${moment(this.to)} s (${duration(this.to - this.from)}): ${plural(shown, "event")}`;
    this.canvas.setAttribute("aria-label", `Timeline of ${plural(this.cpus.length, "vCPU")}`);
  }

  axis(c, height) {
    const span = this.to - this.from, rough = span / Math.max(2, this.width / 130), power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough), digits = Math.min(9, Math.max(0, 9 - Math.floor(Math.log10(step))));
    c.fillStyle = this.ink.quiet;
    c.strokeStyle = this.ink.line;
    for (let t = Math.ceil(this.from / step) * step; t <= this.to; t += step) {
      const x = this.xAt(t);
      c.fillText((t / 1e9).toFixed(digits) + " s", x + 3, 12);
      c.beginPath();
      c.moveTo(x, 4);
      c.lineTo(x, height);
      c.stroke();
    }
  }

  lane(c, cpu, top) {
    const lane = this.trace.lane(cpu), first = Trace.lower(lane.times, this.from), last = Trace.lower(lane.times, this.to + 1);
    c.fillStyle = this.ink.text;
    c.fillText("vCPU " + this.trace.vcpus[cpu], 2, top + 22);
    if (last - first < NEAR)
      this.near(c, lane, Math.max(0, first - 1), last, top);
    else
      this.far(c, lane, top);
    if (this.pick && this.pick.cpu === cpu) {
      c.fillStyle = this.ink.text;
      c.fillRect(this.xAt(lane.times[this.pick.k]) - 1, top, 2, LANE_HEIGHT - 2);
    }
    return last - first;
  }

  // Slices with names, and a mark for each #VE and other event.
  near(c, lane, first, last, top) {
    for (let k = first; k < last; ++k) {
      const state = lane.state[k], start = k;
      while (k + 1 < last && lane.state[k + 1] === state && ![this.trace.type.kvm_exit, this.trace.type.kvm_entry].includes(this.trace.types[lane.list[k + 1]]))
        ++k;
      const x = Math.max(NAMES, this.xAt(lane.times[start])), end = Math.min(NAMES + this.width, k + 1 < lane.times.length ? this.xAt(lane.times[k + 1]) : this.xAt(lane.times[k]) + 1);
      if (end < NAMES || x > NAMES + this.width)
        continue;
      c.fillStyle = this.colours[state];
      c.fillRect(x, top + 8, Math.max(1, end - x - .5), 24);
      if (end - x > 46)
        this.name(c, lane, start, state, x, top, end - x);
    }
    for (let k = first; k < last; ++k) {
      const x = this.xAt(lane.times[k]), ve = this.trace.types[lane.list[k]] === this.trace.type.ve_inject;
      c.fillStyle = ve ? this.ink.ve : this.ink.quiet;
      if (x >= NAMES)
        c.fillRect(x, top + (ve ? 2 : 34), ve ? 2 : 1, ve ? 34 : 6);
    }
  }

  name(c, lane, k, state, x, top, width) {
    const i = lane.list[k], reason = this.trace.types[i] === this.trace.type.kvm_exit ? this.trace.firstName(i) : -1;
    const text = reason >= 0 ? this.trace.strings[reason] : STATE_NAMES[state];
    c.save();
    c.beginPath();
    c.rect(x, top, width - 2, LANE_HEIGHT);
    c.clip();
    c.fillStyle = state === STATE.unknown || state === STATE.halted ? this.ink.text : "#ffffff";
    c.fillText(clean(text).slice(0, 60), x + 4, top + 24);
    c.restore();
  }

  // For each pixel the shares of the states, and whether there was a #VE.
  far(c, lane, top) {
    const perPixel = (this.to - this.from) / this.width;
    let k = Trace.lower(lane.times, this.from);
    for (let px = 0; px < this.width; ++px) {
      const start = this.from + px * perPixel, end = start + perPixel, begin = k;
      k = Trace.lower(lane.times, end);
      let y = top + 8;
      const shares = Array.from({length: STATES}, (_, s) => (this.spentUntil(lane, s, end, k) - this.spentUntil(lane, s, start, begin)) / perPixel);
      for (const s of [STATE.guest, STATE.kvm, STATE.user, STATE.halted, STATE.unknown]) {
        const part = Math.max(0, shares[s]) * 24;
        c.fillStyle = this.colours[s];
        c.fillRect(NAMES + px, y, 1, part);
        y += part;
      }
      const ves = lane.ves[k] - lane.ves[begin];
      c.fillStyle = this.ink.ve;
      if (ves)
        c.fillRect(NAMES + px, top + 2, 1, 5);
      c.fillStyle = this.ink.quiet;
      if (k > begin)
        c.fillRect(NAMES + px, top + 34, 1, Math.min(8, 1 + Math.log2(k - begin)));
    }
  }

  // The time a vCPU spent in a state up to `time`; `k` is the first event that is not before it.
  spentUntil(lane, state, time, k) {
    if (k === 0)
      return 0;
    const last = k === lane.times.length && time > this.trace.last ? this.trace.last : time;
    return lane.spent[state][k - 1] + (lane.state[k - 1] === state ? Math.max(0, last - lane.times[k - 1]) : 0);
  }
}
