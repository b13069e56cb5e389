// SPDX-License-Identifier: Apache-2.0
// Reads the data blocks of the page (the format is that of src/trace/page.cpp) into typed arrays. The fields
// of an event stay packed until somebody looks at it.

const STATE = {unknown: 0, guest: 1, kvm: 2, user: 3, halted: 4};
const STATES = 5;
const UNKNOWN_EVENT = 255;

function bytesOfBase64(text) {
  if (Uint8Array.fromBase64)
    return Uint8Array.fromBase64(text);
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; ++i)
    bytes[i] = raw.charCodeAt(i);
  return bytes;
}

async function blocks(name, tell) {
  const nodes = [...document.getElementsByClassName(name)];
  const parts = [];
  let size = 0, since = performance.now();
  for (const [i, node] of nodes.entries()) {
    parts.push(bytesOfBase64(node.textContent));
    size += parts[i].length;
    node.remove(); // its memory is better used for what comes
    if (performance.now() - since > SLICE_MS) {
      tell(`${name}: ${Math.round(100 * (i + 1) / nodes.length)} %`);
      await breathe();
      since = performance.now();
    }
  }
  const all = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

// Reads numbers as page.cpp packs them; exact up to 2^53.
class Cursor {
  constructor(bytes, at = 0) {
    this.bytes = bytes;
    this.at = at;
  }
  number() {
    let value = 0, scale = 1, byte;
    do {
      byte = this.bytes[this.at++];
      value += (byte & 127) * scale;
      scale *= 128;
    } while (byte & 128);
    return value;
  }
  signed() {
    const value = this.number();
    return value % 2 ? -(value + 1) / 2 : value / 2;
  }
  big() {
    let value = 0n, shift = 0n, byte;
    do {
      byte = this.bytes[this.at++];
      value |= BigInt(byte & 127) << shift;
      shift += 7n;
    } while (byte & 128);
    return BigInt.asUintN(64, value);
  }
}

class Trace {
  static async load(tell) {
    const trace = new Trace();
    trace.bytes = await blocks("events", tell);
    const episodes = await blocks("episodes", tell);
    Object.assign(trace, JSON.parse(new TextDecoder().decode(await blocks("tables", tell))));
    trace.type = Object.fromEntries(trace.schema.map(([name], i) => [name, i]));
    trace.halt = trace.strings.indexOf("HLT");
    await trace.index(tell);
    trace.readKinds();
    trace.readEpisodes(episodes);
    return trace;
  }

  // Where each event is, when, of which vCPU, and in what state it leaves that.
  async index(tell) {
    const n = this.events;
    this.ts = new Float64Array(n);
    this.types = new Uint8Array(n);
    this.cpus = new Uint32Array(n);
    this.offsets = new Uint32Array(n);
    const perCpu = new Uint32Array(this.vcpus.length);
    const cursor = new Cursor(this.bytes);
    let ts = 0, since = performance.now();
    for (let i = 0; i < n; ++i) {
      this.types[i] = this.bytes[cursor.at++];
      const cpu = this.cpus[i] = cursor.number();
      ++perCpu[cpu];
      this.ts[i] = ts += cursor.signed();
      const length = this.bytes[cursor.at++];
      this.offsets[i] = cursor.at;
      cursor.at += length;
      if ((i & 0xffff) === 0xffff && performance.now() - since > SLICE_MS) {
        tell(`index: ${Math.round(100 * i / n)} %`);
        await breathe();
        since = performance.now();
      }
    }
    this.perCpu = [...perCpu].map((size) => new Uint32Array(size));
    const fill = new Uint32Array(this.vcpus.length);
    for (let i = 0; i < n; ++i)
      this.perCpu[this.cpus[i]][fill[this.cpus[i]]++] = i;
    this.lanes = new Array(this.vcpus.length); // made when the timeline first shows them
  }

  readKinds() {
    this.kindOf = [];
    for (const [id, isAccess, isVe, page, rip, insn, text, symbol, size, write, answer, reason, call, n, timed, ns, longest] of this.kinds)
      this.kindOf[id] = {id, isAccess, isVe, page, rip, insn, text, symbol, size, write, answer, reason, call, n, timed, ns, longest};
    this.code = new Map(this.kindOf.map((kind) => [kind.rip + "/" + kind.insn, kind]));
  }

  readEpisodes(bytes) {
    const n = this.episodes, cursor = new Cursor(bytes);
    const cpu = new Uint32Array(n), first = new Uint32Array(n), last = new Uint32Array(n), kind = new Uint32Array(n),
      fresh = new Uint8Array(n), ns = new Float64Array(n);
    let at = 0;
    for (let i = 0; i < n; ++i) {
      cpu[i] = cursor.number();
      first[i] = at += cursor.signed();
      last[i] = first[i] + cursor.number();
      kind[i] = cursor.number();
      fresh[i] = cursor.number();
      const took = cursor.number();
      ns[i] = took ? took - 1 : NaN;
    }
    this.episode = {count: n, cpu, first, last, kind, fresh, ns};
  }

  // The event with its fields as text.
  event(i) {
    const type = this.types[i], cursor = new Cursor(this.bytes, this.offsets[i]);
    const event = {i, ts: this.ts[i], vcpu: this.vcpus[this.cpus[i]], ev: "", fields: {}};
    if (type === UNKNOWN_EVENT) {
      event.ev = this.strings[cursor.number()];
      return event;
    }
    const [name, fields] = this.schema[type];
    event.ev = name;
    const present = this.bytes[cursor.at++];
    for (const [k, [field, format]] of fields.entries()) {
      if (!(present >> k & 1))
        continue;
      if (format === 1)
        event.fields[field] = "0x" + cursor.big().toString(16);
      else if (format === 2)
        event.fields[field] = cursor.big().toString();
      else
        event.fields[field] = this.strings[cursor.number()];
    }
    return event;
  }

  // The first field of an event that is a name, as its number in `strings`; -1 if it is absent.
  firstName(i) {
    const at = this.offsets[i];
    return this.bytes[at] & 1 ? new Cursor(this.bytes, at + 1).number() : -1;
  }

  // The position in `list` (sorted numbers) of the first that is not below `value`.
  static lower(list, value, of = (x) => x) {
    let low = 0, high = list.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (of(list[middle]) < value)
        low = middle + 1;
      else
        high = middle;
    }
    return low;
  }

  // The events of one vCPU between two events, both included.
  between(cpu, first, last) {
    const list = this.perCpu[cpu];
    return [...list.subarray(Trace.lower(list, first), Trace.lower(list, last + 1))];
  }

  // What a vCPU does over time: after each of its events its state, and the time spent in each state so far.
  lane(cpu) {
    if (this.lanes[cpu])
      return this.lanes[cpu];
    const list = this.perCpu[cpu], n = list.length;
    const times = new Float64Array(n), state = new Uint8Array(n), ves = new Uint32Array(n + 1);
    const spent = Array.from({length: STATES}, () => new Float64Array(n));
    let now = STATE.unknown;
    for (let k = 0; k < n; ++k) {
      const i = list[k];
      times[k] = Math.max(this.ts[i], k ? times[k - 1] : 0);
      if (k)
        for (let s = 0; s < STATES; ++s)
          spent[s][k] = spent[s][k - 1] + (s === now ? times[k] - times[k - 1] : 0);
      state[k] = now = this.stateAfter(i, now);
      ves[k + 1] = ves[k] + (this.types[i] === this.type.ve_inject ? 1 : 0);
    }
    return this.lanes[cpu] = {list, times, state, spent, ves};
  }

  stateAfter(i, now) {
    switch (this.types[i]) {
    case this.type.kvm_entry:
      return STATE.guest;
    case this.type.kvm_exit:
      return this.halt >= 0 && this.firstName(i) === this.halt ? STATE.halted : STATE.kvm;
    case this.type.kvm_userspace_exit:
      return STATE.user;
    default:
      return now === STATE.user ? STATE.kvm : now;
    }
  }
}
