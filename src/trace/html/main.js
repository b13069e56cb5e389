// SPDX-License-Identifier: Apache-2.0
// Puts the page together: tabs, views (each made when it is first looked at), colours.

const VIEWS = [["flow", "Flow"], ["timeline", "Timeline"], ["pages", "MMIO pages"], ["code", "Instructions"], ["costs", "Costs"], ["events", "Events"]];

class App {
  constructor(trace) {
    this.trace = trace;
    this.made = {};
    this.diagram = new Diagram(trace, byId("diagram"), byId("flow-title"), byId("event"));
    for (const [name, title] of VIEWS) {
      const tab = element("button", {type: "button", role: "tab", id: "tab-" + name, "aria-controls": "view-" + name}, title);
      tab.addEventListener("click", () => this.open(name));
      byId("tabs").append(tab);
    }
    byId("tabs").addEventListener("keydown", (event) => this.key(event));
  }

  open(name) {
    for (const [other] of VIEWS) {
      const here = other === name;
      byId("view-" + other).hidden = !here;
      byId("tab-" + other).setAttribute("aria-selected", here ? "true" : "false");
      byId("tab-" + other).setAttribute("tabindex", here ? "0" : "-1");
    }
    this.now = name;
    if (!this.made[name])
      this.made[name] = this["make_" + name]() || true;
    if (name === "timeline")
      this.made.timeline.draw();
  }

  key(event) {
    const at = VIEWS.findIndex(([name]) => name === this.now);
    const next = {ArrowRight: (at + 1) % VIEWS.length, ArrowLeft: (at + VIEWS.length - 1) % VIEWS.length, Home: 0, End: VIEWS.length - 1}[event.key];
    if (next === undefined)
      return;
    event.preventDefault();
    this.open(VIEWS[next][0]);
    byId("tab-" + VIEWS[next][0]).focus();
  }

  // The flow of an episode: its events, and the entry that follows an answer.
  episode(row) {
    const e = this.trace.episode, list = this.trace.perCpu[e.cpu[row]], after = list[Trace.lower(list, e.last[row] + 1)];
    const events = this.trace.between(e.cpu[row], e.first[row], e.last[row]);
    if (after !== undefined && this.trace.types[after] === this.trace.type.kvm_entry)
      events.push(after);
    const kind = this.trace.kindOf[e.kind[row]];
    const what = kind.isAccess ? `${e.fresh[row] ? "First" : "Later"} access to ${kind.page}: ${kindName(kind)}` : whatOf(kind);
    this.diagram.show(`${what}, vCPU ${this.trace.vcpus[e.cpu[row]]}${Number.isNaN(e.ns[row]) ? "" : ", " + duration(e.ns[row])}`, events);
  }

  // The flow around any event: from the entry before it to the one behind it.
  around(i) {
    const cpu = this.trace.cpus[i], list = this.trace.perCpu[cpu], entry = this.trace.type.kvm_entry;
    let first = Trace.lower(list, i), last = first;
    for (let n = 0; first > 0 && n < 60 && (first === last || this.trace.types[list[first]] !== entry); ++n)
      --first;
    for (let n = 0; last + 1 < list.length && n < 60 && this.trace.types[list[last]] !== entry; ++n)
      ++last;
    this.open("flow");
    this.diagram.show(`vCPU ${this.trace.vcpus[cpu]} around ${moment(this.trace.ts[i])} s`, [...list.subarray(first, last + 1)]);
    const group = byId("diagram").querySelectorAll(".step")[Trace.lower(list, i) - first];
    if (group)
      group.focus();
  }

  make_flow() {
    const table = episodesTable(this.trace, byId("episodes"), (row) => this.episode(row));
    const first = this.trace.episode.fresh.indexOf(1);
    if (this.trace.episode.count)
      table.choose(Math.max(0, first));
    if (first > 0)
      table.reveal(first);
    if (!this.trace.episode.count)
      byId("flow-title").textContent = "The trace has no access to MMIO and no #VE";
    return table;
  }

  make_timeline() {
    return new Timeline(this.trace, {canvas: byId("canvas"), range: byId("range"), picked: byId("picked"), legend: byId("legend"), button: byId("picked-flow")}, (i) => this.around(i));
  }

  make_pages() { return pagesTable(this.trace, byId("pages")); }
  make_code() { return codeTable(this.trace, byId("code")); }
  make_costs() {
    costsTables(this.trace, {exits: byId("exits"), vmcalls: byId("vmcalls"), users: byId("user-exits"), leaves: byId("leaves"), counts: byId("counts")});
  }

  make_events() {
    return new EventsTable(this.trace, byId("events"), (i) => {
      byId("event-fields").replaceChildren(...eventFields(this.trace, this.trace.event(i), true));
      byId("event-flow").hidden = false;
      byId("event-flow").onclick = () => this.around(i);
    });
  }
}

function colours() {
  const dark = window.matchMedia("(prefers-color-scheme: dark)"), select = byId("theme");
  const apply = () => {
    document.documentElement.dataset.theme = select.value || (dark.matches ? "dark" : "light");
    if (window.app && window.app.made.timeline)
      window.app.made.timeline.draw();
  };
  select.addEventListener("change", apply);
  dark.addEventListener("change", apply);
  apply();
}

async function main() {
  colours();
  const facts = byId("facts"), started = performance.now();
  try {
    const trace = await Trace.load((text) => { facts.textContent = "Reading the trace… " + text; });
    document.title = clean(trace.title);
    byId("title").textContent = clean(trace.title);
    facts.textContent = `${plural(trace.events, "event")}, ${plural(trace.vcpus.length, "vCPU")}, ${((trace.last - trace.first) / 1e9).toFixed(6)} s`;
    window.app = new App(trace);
    window.app.open("flow");
    document.documentElement.dataset.ready = Math.round(performance.now() - started);
  } catch (error) {
    facts.textContent = "This page is damaged: " + clean(error.message);
    facts.className = "error";
    document.documentElement.dataset.ready = "failed";
  }
}

main();
