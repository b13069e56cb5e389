// SPDX-License-Identifier: Apache-2.0
// The sequence diagram: lanes from guest to VMM, one row for each event of a vCPU.

const DIAGRAM = {top: 34, row: 30, left: 132, narrow: 104, wide: 170, right: 46, most: 400};

class Diagram {
  constructor(trace, host, title, panel) {
    Object.assign(this, {trace, host, title, panel});
    host.addEventListener("keydown", (event) => this.key(event));
  }

  // Shows these events, which are of one vCPU, in order.
  show(title, events) {
    this.title.textContent = clean(title);
    const shown = events.slice(0, DIAGRAM.most).map((i) => this.trace.event(i));
    const exit = shown.find((event) => event.ev === "kvm_exit");
    this.td = exit ? exit.fields.vm === "td" : shown.some((event) => /^tdx_|^ve_/.test(event.ev) || event.ev.startsWith("kvm_tdx"));
    const lanes = LANES.map((name, i) => i).filter((i) => this.td || i !== MODULE);
    const room = (this.host.clientWidth - 20 - DIAGRAM.left - DIAGRAM.right) / lanes.length;
    const gap = Math.max(DIAGRAM.narrow, Math.min(DIAGRAM.wide, room));
    this.x = Object.fromEntries(lanes.map((lane, k) => [lane, DIAGRAM.left + gap * (k + .5)]));
    this.width = DIAGRAM.left + gap * lanes.length + DIAGRAM.right;
    const height = DIAGRAM.top + DIAGRAM.row * shown.length + 14;
    const svg = svgElement("svg", {width: this.width, height, role: "group", "aria-label": clean(title)});
    this.lanes(svg, lanes, height);
    let phase = null;
    shown.forEach((event, row) => {
      const step = stepOf(event, this.td);
      svg.append(this.step(event, step, row, shown[0].ts, step.aside ? null : step.phase !== phase ? step.phase : ""));
      if (!step.aside)
        phase = step.phase;
    });
    this.host.replaceChildren(svg);
    if (events.length > shown.length)
      this.host.append(element("p", {class: "hint"}, `The first ${DIAGRAM.most} of ${count(events.length)} events.`));
    this.host.scrollTop = 0;
    this.panel.textContent = "Point at a step, or choose it, to see its fields.";
    this.shown = shown;
  }

  lanes(svg, lanes, height) {
    for (const lane of lanes) {
      svg.append(svgElement("text", {class: "lane", x: this.x[lane], y: 18, "text-anchor": "middle"}, LANES[lane]));
      svg.append(svgElement("line", {class: "life", x1: this.x[lane], x2: this.x[lane], y1: DIAGRAM.top - 8, y2: height - 6}));
    }
  }

  step(event, step, row, start, heading) {
    const y = DIAGRAM.top + DIAGRAM.row * row, middle = y + DIAGRAM.row * .62;
    const group = svgElement("g", {class: "step" + (step.ve ? " ve" : "") + (step.aside ? " other" : ""), tabindex: row === 0 ? "0" : "-1", role: "button",
      "data-event": event.ev, "aria-label": clean(`${event.ev}: ${LANES[step.from]} to ${LANES[step.to]}, ${step.label}. ${step.say}`)});
    group.append(svgElement("rect", {class: "hit", x: 0, y: y + 2, width: this.width, height: DIAGRAM.row - 2, rx: 4}));
    if (heading)
      group.append(svgElement("text", {x: 8, y: y + 14}, heading));
    group.append(svgElement("text", {class: "quiet", x: 8, y: y + (heading ? 27 : 20)}, "+" + duration(event.ts - start)));
    if (step.from === step.to)
      this.note(group, step, middle);
    else
      this.arrow(group, step, middle);
    group.append(svgElement("title", {}, event.ev + "\n" + Object.entries(event.fields).map(([k, v]) => `${k} = ${v}`).join("\n")));
    const choose = () => this.choose(event, group);
    group.addEventListener("click", choose);
    group.addEventListener("focus", choose);
    group.addEventListener("mouseenter", () => this.tell(event));
    return group;
  }

  note(group, step, middle) {
    const x = this.x[step.from] || 0, half = Math.min(150, 12 + step.label.length * 3.4);
    group.append(svgElement("rect", {class: "note", x: x - half, y: middle - 11, width: 2 * half, height: 20, rx: 4}));
    group.append(svgElement("text", {x, y: middle + 3, "text-anchor": "middle"}, step.label.slice(0, 44)));
  }

  arrow(group, step, middle) {
    const from = this.x[step.from] ?? this.x[KVM], to = this.x[step.to] ?? this.x[KVM], way = Math.sign(to - from);
    group.append(svgElement("line", {class: "arrow", x1: from, x2: to - way * 7, y1: middle + 4, y2: middle + 4}));
    group.append(svgElement("path", {class: "head", d: `M${to} ${middle + 4} l${-way * 9} -4.5 v9 z`}));
    if (step.via !== undefined && this.x[step.via] !== undefined)
      group.append(svgElement("circle", {class: "head", cx: this.x[step.via], cy: middle + 4, r: 3.5}));
    group.append(svgElement("text", {x: (from + to) / 2, y: middle - 2, "text-anchor": "middle"}, step.label.slice(0, 44)));
  }

  tell(event) {
    this.panel.replaceChildren(...eventFields(this.trace, event, this.td));
  }

  choose(event, group) {
    for (const other of this.host.querySelectorAll(".step")) {
      other.classList.toggle("chosen", other === group);
      other.setAttribute("tabindex", other === group ? "0" : "-1");
    }
    this.tell(event);
  }

  key(event) {
    const steps = [...this.host.querySelectorAll(".step")], at = steps.indexOf(document.activeElement);
    const next = {ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: steps.length - 1}[event.key];
    if (at < 0 || next === undefined || !steps[next])
      return;
    event.preventDefault();
    steps[next].focus();
  }
}
