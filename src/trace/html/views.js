// SPDX-License-Identifier: Apache-2.0
// The tables of the page.

const tallyColumns = (rows) => [
  {title: "count", number: true, text: (r) => count(rows[r].n), key: (r) => rows[r].n},
  {title: "total", number: true, text: (r) => rows[r].timed ? duration(rows[r].ns) : "", key: (r) => rows[r].timed ? rows[r].ns : -1},
  {title: "mean", number: true, text: (r) => rows[r].timed ? duration(rows[r].ns / rows[r].timed) : "", key: (r) => rows[r].timed ? rows[r].ns / rows[r].timed : -1},
  {title: "longest", number: true, text: (r) => rows[r].timed ? duration(rows[r].longest) : "", key: (r) => rows[r].timed ? rows[r].longest : -1},
];

const tally = ([n, timed, ns, longest]) => ({n, timed, ns, longest});
const column = (rows, title, field, more) => ({title, text: (r) => String(rows[r][field] ?? ""), ...more});

function kindName(kind) {
  return kind.isAccess ? (kind.write ? "write" : "read") : kind.call || kind.reason || "?";
}

function whatOf(kind) {
  return kind.isAccess ? "MMIO" : "#VE " + kind.reason;
}

// The table of episodes: choosing one shows its flow.
function episodesTable(trace, host, onChoose) {
  const e = trace.episode, kind = (r) => trace.kindOf[e.kind[r]];
  const texts = trace.kindOf.map((k) => [whatOf(k), kindName(k), k.isAccess ? k.page : "", k.answer, k.text, k.symbol, k.rip, k.insn].join(" "));
  return new Table(host, {label: "Accesses and #VEs", rows: e.count, onChoose,
    search: (r) => `${texts[e.kind[r]]} vcpu ${trace.vcpus[e.cpu[r]]}${e.fresh[r] ? " first" : ""}`,
    columns: [
      {title: "time", number: true, text: (r) => (trace.ts[e.first[r]] / 1e9).toFixed(6), key: (r) => trace.ts[e.first[r]]},
      {title: "vCPU", number: true, text: (r) => String(trace.vcpus[e.cpu[r]]), key: (r) => trace.vcpus[e.cpu[r]]},
      {title: "what", text: (r) => whatOf(kind(r)) + (e.fresh[r] ? ", first" : "")},
      {title: "page", code: true, text: (r) => kind(r).isAccess ? kind(r).page : ""},
      {title: "request", text: (r) => kind(r).isAccess ? `${kindName(kind(r))} ${kind(r).size || ""}` : kindName(kind(r))},
      {title: "took", number: true, text: (r) => duration(e.ns[r]), key: (r) => e.ns[r]},
      {title: "answered by", text: (r) => kind(r).isAccess ? kind(r).answer : ""},
      {title: "instruction", code: true, text: (r) => kind(r).text || kind(r).insn},
      {title: "at", code: true, text: (r) => kind(r).symbol || kind(r).rip},
    ]});
}

function pagesOf(trace) {
  const pages = new Map();
  for (const kind of trace.kindOf) {
    if (!kind.isAccess)
      continue;
    if (!pages.has(kind.page))
      pages.set(kind.page, {page: kind.page, n: 0, timed: 0, ns: 0, longest: 0, reads: 0, writes: 0, code: new Set(), answers: new Set()});
    const page = pages.get(kind.page);
    page.n += kind.n;
    page.timed += kind.timed;
    page.ns += kind.ns;
    page.longest = Math.max(page.longest, kind.longest);
    page[kind.write ? "writes" : "reads"] += kind.n;
    page.code.add(kind.rip + "/" + kind.insn);
    page.answers.add(kind.answer);
  }
  return [...pages.values()];
}

function pagesTable(trace, host) {
  const rows = pagesOf(trace);
  return new Table(host, {label: "Pages of MMIO", rows: rows.length, sort: 1, short: true, columns: [
    {...column(rows, "page", "page", {code: true}), key: (r) => rows[r].page.padStart(18, " ")},
    ...tallyColumns(rows),
    {title: "reads", number: true, text: (r) => count(rows[r].reads), key: (r) => rows[r].reads},
    {title: "writes", number: true, text: (r) => count(rows[r].writes), key: (r) => rows[r].writes},
    {title: "instructions", number: true, text: (r) => count(rows[r].code.size), key: (r) => rows[r].code.size},
    {title: "answered by", text: (r) => [...rows[r].answers].join(", ")},
  ]});
}

function codeTable(trace, host) {
  const rows = trace.kindOf;
  return new Table(host, {label: "Instructions", rows: rows.length, sort: 8, short: true, columns: [
    {title: "bytes", code: true, text: (r) => rows[r].insn || "(not in the trace)"},
    column(rows, "instruction", "text", {code: true}),
    {...column(rows, "RIP", "rip", {code: true}), key: (r) => rows[r].rip.padStart(18, " ")},
    column(rows, "function", "symbol", {code: true}),
    {title: "why", text: (r) => whatOf(rows[r])},
    {title: "page", code: true, text: (r) => rows[r].isAccess ? rows[r].page : ""},
    {title: "size", number: true, text: (r) => rows[r].isAccess && rows[r].size ? String(rows[r].size) : "", key: (r) => rows[r].size},
    {title: "request", text: (r) => kindName(rows[r])},
    ...tallyColumns(rows),
    {title: "answered by", text: (r) => rows[r].isAccess ? rows[r].answer : ""},
  ]});
}

function costsTables(trace, hosts) {
  const exits = trace.exits.map(([reason, hw, vm, ...t]) => ({reason, hw, vm, ...tally(t)}));
  const calls = trace.vmcalls.map(([leaf, ...t]) => ({leaf, ...tally(t)}));
  const users = trace.userExits.map(([reason, n]) => ({reason, n}));
  const leaves = trace.leaves.map(([seamcall, leaf, status, n]) => ({who: seamcall ? "SEAMCALL" : "TDCALL", leaf, status, n}));
  const counts = trace.counts.map(([name, n]) => ({name, n}));
  const number = (rows) => ({title: "count", number: true, text: (r) => count(rows[r].n), key: (r) => rows[r].n});
  new Table(hosts.exits, {label: "VM exits", rows: exits.length, sort: 4, short: true, columns: [
    column(exits, "reason (KVM's reading)", "reason"), column(exits, "the hardware's", "hw"), column(exits, "VM", "vm"), ...tallyColumns(exits)]});
  new Table(hosts.vmcalls, {label: "TDG.VP.VMCALLs", rows: calls.length, sort: 2, short: true, columns: [column(calls, "leaf", "leaf"), ...tallyColumns(calls)]});
  new Table(hosts.users, {label: "Returns to the VMM", rows: users.length, sort: 1, short: true, columns: [column(users, "reason", "reason"), number(users)]});
  new Table(hosts.leaves, {label: "SEAMCALLs and TDCALLs", rows: leaves.length, sort: 3, short: true, columns: [
    column(leaves, "instruction", "who"), column(leaves, "leaf", "leaf"), column(leaves, "status", "status", {code: true}), number(leaves)]});
  new Table(hosts.counts, {label: "Events by name", rows: counts.length, sort: 1, short: true, columns: [column(counts, "event", "name"), number(counts)]});
}

// All events. The search looks into packed fields, so it goes on while the page stays alive.
class EventsTable extends Table {
  constructor(trace, host, onChoose) {
    const names = [...new Set(trace.counts.map(([name]) => name))].sort();
    const select = element("select", {"aria-label": "Only this event"}, element("option", {value: ""}, "all events"), ...names.map((name) => element("option", {value: name}, name)));
    const cached = {i: -1, event: null};
    const event = (i) => cached.i === i ? cached.event : (cached.i = i, cached.event = trace.event(i));
    super(host, {trace, select, controls: [select], label: "All events", rows: trace.events, fixedOrder: true, onChoose, columns: [
      {title: "number", number: true, text: (i) => count(i)},
      {title: "time", number: true, text: (i) => moment(trace.ts[i])},
      {title: "vCPU", number: true, text: (i) => String(trace.vcpus[trace.cpus[i]])},
      {title: "event", text: (i) => event(i).ev},
      {title: "fields", code: true, text: (i) => Object.entries(event(i).fields).map(([k, v]) => `${k}=${v}`).join(" ")},
    ]});
    select.addEventListener("change", () => this.arrange());
  }

  async arrange() {
    this.view.scrollTop = 0;
    const wanted = this.input.value.trim().toLowerCase(), name = this.select.value, run = this.run = (this.run || 0) + 1;
    const type = name in this.trace.type ? this.trace.type[name] : name ? UNKNOWN_EVENT : -1;
    if (!wanted && type < 0)
      return this.show(Uint32Array.from({length: this.rows}, (_, i) => i));
    let since = performance.now();
    const kept = [];
    for (let i = 0; i < this.rows; ++i) {
      if ((type < 0 || this.trace.types[i] === type && (type !== UNKNOWN_EVENT || this.trace.event(i).ev === name)) && (!wanted || this.textOf(i).includes(wanted)))
        kept.push(i);
      if ((i & 255) === 255 && performance.now() - since > SLICE_MS) {
        this.show(kept);
        this.found.textContent = `${count(kept.length)} so far, ${Math.round(100 * i / this.rows)} % searched`;
        await breathe();
        if (run !== this.run)
          return; // somebody typed on
        since = performance.now();
      }
    }
    this.show(kept);
  }
}
