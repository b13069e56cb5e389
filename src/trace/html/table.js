// SPDX-License-Identifier: Apache-2.0
// A table that can be sorted and searched, of any length: only the rows in sight are in the document.
// Columns: {title, text(row), key(row) where rows sort otherwise than by text, number, code}. Rows are numbers
// from 0.

const ROW_HEIGHT = 25;
const TALLEST = 8e6; // px; browsers draw nothing beyond some height

class Table {
  constructor(host, options) {
    Object.assign(this, {columns: [], rows: 0, label: "", sort: -1, down: true, short: false, onChoose: null, search: null}, options);
    this.order = null; // null: as they come
    this.chosen = -1;
    this.sight = [];
    this.build(host);
    this.arrange();
  }

  build(host) {
    this.input = element("input", {type: "search", placeholder: "Search", "aria-label": "Search: " + this.label});
    this.input.addEventListener("input", () => this.arrange());
    this.found = element("span", {role: "status"});
    this.bar = element("div", {class: "bar"}, this.input, ...(this.controls || []), this.found);
    this.head = element("tr", {});
    for (const [i, column] of this.columns.entries()) {
      const button = element("button", {type: "button"}, column.title);
      if (this.fixedOrder)
        button.disabled = true;
      button.addEventListener("click", () => this.sortBy(i));
      this.head.append(element("th", {scope: "col", class: column.number && "number"}, button));
    }
    this.body = element("tbody", {});
    this.view = element("div", {class: "rows", tabindex: "0", role: "region", "aria-label": this.label},
      element("table", {role: "grid", "aria-label": this.label}, element("thead", {}, this.head), this.body));
    this.view.addEventListener("scroll", () => this.draw());
    this.view.addEventListener("keydown", (event) => this.key(event));
    this.box = element("div", {class: "table" + (this.short ? " short" : "") + (this.onChoose ? " choose" : "")}, this.bar, this.view);
    host.replaceChildren(this.box);
    new ResizeObserver(() => this.draw()).observe(this.view);
  }

  sortBy(i) {
    this.down = this.sort === i ? !this.down : Boolean(this.columns[i].number);
    this.sort = i;
    this.arrange();
  }

  // Which rows, and in which order.
  arrange() {
    this.view.scrollTop = 0;
    const wanted = this.input.value.trim().toLowerCase();
    const kept = [];
    for (let row = 0; row < this.rows; ++row)
      if (!wanted || this.textOf(row).includes(wanted))
        kept.push(row);
    this.show(kept);
  }

  show(kept) {
    if (this.sort >= 0) {
      const column = this.columns[this.sort], key = column.key || column.text;
      const keys = new Map(kept.map((row) => [row, key(row)]));
      const sign = this.down ? -1 : 1;
      const compare = (a, b) => typeof a === "number" ? (Number.isNaN(a) ? -1 : a) - (Number.isNaN(b) ? -1 : b) : a < b ? -1 : a > b ? 1 : 0;
      kept.sort((a, b) => sign * compare(keys.get(a), keys.get(b)) || a - b);
    }
    this.order = kept;
    for (const [i, cell] of [...this.head.children].entries())
      cell.setAttribute("aria-sort", i !== this.sort ? "none" : this.down ? "descending" : "ascending");
    this.found.textContent = kept.length === this.rows ? plural(kept.length, "row") : `${count(kept.length)} of ${plural(this.rows, "row")}`;
    this.draw();
  }

  textOf(row) {
    return (this.search ? this.search(row) : this.columns.map((column) => column.text(row)).join(" ")).toLowerCase();
  }

  // Which rows are in sight: one row is ROW_HEIGHT unless all of them together would be too tall.
  draw() {
    const n = this.order.length, height = Math.min(n * ROW_HEIGHT, TALLEST);
    const fits = Math.ceil((this.view.clientHeight || 400) / ROW_HEIGHT) + 1;
    const most = Math.max(0, n - fits + 2), range = Math.max(1, height - fits * ROW_HEIGHT);
    const exact = n * ROW_HEIGHT <= TALLEST;
    const first = Math.min(most, Math.floor(exact ? this.view.scrollTop / ROW_HEIGHT : this.view.scrollTop / range * most));
    const rows = [...this.order.slice(first, first + fits)];
    const above = exact ? first * ROW_HEIGHT : Math.min(this.view.scrollTop, height - rows.length * ROW_HEIGHT);
    const drawn = [first, n, this.chosen, above, ...rows].join();
    if (drawn === this.drawn)
      return; // rows that stay the same elements can be clicked
    this.drawn = drawn;
    const space = (px) => element("tr", {class: "space", "aria-hidden": "true"}, element("td", {colspan: this.columns.length, style: `height:${Math.max(0, px)}px`}));
    this.view.querySelector("table").setAttribute("aria-rowcount", n);
    this.body.replaceChildren(space(above), ...rows.map((row, i) => this.rowElement(row, first + i)), space(height - above - rows.length * ROW_HEIGHT));
    this.first = first;
    this.fits = fits - 2;
  }

  rowElement(row, place) {
    const cells = this.columns.map((column) => {
      const text = column.text(row);
      return element("td", {class: [column.number && "number", column.code && "code"].filter(Boolean).join(" "), title: text.length > 30 ? clean(text) : undefined}, text);
    });
    const line = element("tr", {class: "row", "aria-rowindex": place + 1, "aria-selected": row === this.chosen ? "true" : "false", "data-row": row}, ...cells);
    if (this.onChoose)
      line.addEventListener("click", () => this.choose(row));
    return line;
  }

  choose(row) {
    this.chosen = row;
    this.draw();
    if (this.onChoose)
      this.onChoose(row);
  }

  key(event) {
    const step = {ArrowDown: 1, ArrowUp: -1, PageDown: 15, PageUp: -15, Home: -Infinity, End: Infinity}[event.key];
    if (step === undefined || !this.onChoose || !this.order.length || event.target !== this.view)
      return;
    event.preventDefault();
    const now = this.order.indexOf(this.chosen);
    const place = Math.max(0, Math.min(this.order.length - 1, (now < 0 ? (step > 0 ? -1 : 0) : now) + step));
    this.reveal(place);
    this.choose(this.order[place]);
  }

  reveal(place) {
    const n = this.order.length, exact = n * ROW_HEIGHT <= TALLEST;
    if (place >= this.first && place < this.first + this.fits - 1)
      return;
    const top = Math.max(0, place - Math.floor(this.fits / 2));
    this.view.scrollTop = exact ? top * ROW_HEIGHT : top / Math.max(1, n) * TALLEST;
  }
}
