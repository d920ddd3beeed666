// Adds sorting, filters and the dialog of one cell. The state is the fragment of the URL: #q=zstd&verdict=slower&sort=bytes
"use strict";
(() => {
  const form = document.getElementById("controls");
  const count = form.querySelector("output");
  const dialog = document.querySelector("dialog");
  const tables = [...document.querySelectorAll("#results table")];
  const names = ["q", "workload", "data", "kept", "verdict", "sort"];
  let state = {};
  state = read();

  function read() {
    const fragment = location.hash.slice(1);
    // Links of the page to itself have a name alone.
    if (/^cell-\d+-\d+$/.test(fragment)) return { ...state, cell: fragment };
    if (fragment && !fragment.includes("=")) return { ...state };
    return Object.fromEntries([...new URLSearchParams(fragment)].filter(([name]) => [...names, "cell"].includes(name)));
  }

  function change(changes) {
    state = { ...state, ...changes };
    const kept = Object.entries(state).filter(([, value]) => value);
    history.replaceState(null, "", "#" + new URLSearchParams(kept));
    show();
  }

  function show() {
    for (const name of names) {
      const field = form.elements[name];
      field.value = state[name]?.replace(/^-/, "") ?? "";
      // A choice that this page does not have is no choice.
      if (field.selectedIndex === -1) field.value = "";
    }
    tables.forEach(sort);
    filter();
    showCell();
  }

  function filter() {
    const words = (state.q ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    let all = 0;
    for (const table of tables) {
      const own = ["workload", "data", "kept"].every(name => !state[name] || table.dataset[name] === state[name]);
      const title = table.caption.textContent.toLowerCase();
      const rows = [...table.tBodies[0].rows];
      const isFound = row => {
        const text = `${row.cells[0].textContent.toLowerCase()} ${table.dataset.workload} ${title}`;
        return words.every(word => text.includes(word));
      };
      const compared = rows.filter(row => row.dataset.verdict !== "reference");
      // A reference alone is shown unless a search excludes it.
      let any = compared.length === 0 && own && !state.verdict &&
        rows.some(isFound);
      for (const row of compared) {
        const fits = own && isFound(row) && (!state.verdict || row.dataset.verdict === state.verdict);
        row.hidden = !fits;
        any ||= fits;
        all += 1;
        shown += fits ? 1 : 0;
      }
      table.hidden = !any;
    }
    for (const section of document.querySelectorAll(".workload")) {
      section.hidden = [...section.querySelectorAll("table")].every(table => table.hidden);
    }
    count.textContent = shown === all ? `${all} comparisons` : `${shown} of ${all} comparisons`;
  }

  // The default is speed. A leading minus turns the order around.
  function sort(table) {
    const [turned, key] = /^(-?)(.*)$/.exec(state.sort || "speed").slice(1);
    const heads = [...table.tHead.rows[0].cells];
    const head = heads.find(head => head.dataset.key === key) ?? heads.find(head => head.dataset.key === "speed");
    const at = heads.indexOf(head);
    const descending = ("larger" in head.dataset) !== Boolean(turned);
    const value = row => {
      const cell = row.cells[at];
      if (!cell) return undefined;
      return head.classList.contains("number") ? parseFloat(cell.dataset.v) : cell.textContent;
    };
    const rows = [...table.tBodies[0].rows].sort((a, b) => {
      const [left, right] = [value(a), value(b)];
      // Rows without a value stay at the end.
      const [noLeft, noRight] = [left, right].map(v => v === undefined || Number.isNaN(v));
      if (noLeft || noRight) return noLeft - noRight;
      const order = typeof left === "number" ? left - right : left.localeCompare(right);
      return descending ? -order : order;
    });
    table.tBodies[0].append(...rows);
    heads.forEach(head => head.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
  }

  function showCell() {
    const figure = state.cell && document.getElementById(state.cell);
    if (!figure) {
      if (dialog.open) dialog.close();
      return;
    }
    const copy = figure.cloneNode(true);
    copy.removeAttribute("id");
    dialog.lastElementChild.replaceChildren(copy);
    if (!dialog.open) dialog.showModal();
  }

  for (const head of document.querySelectorAll("#results th[data-key]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const key = head.dataset.key;
      change({ sort: (state.sort || "speed") === key ? "-" + key : key });
    });
  }
  for (const link of document.querySelectorAll('main a[href^="#cell-"]')) {
    link.addEventListener("click", event => {
      event.preventDefault();
      change({ cell: link.getAttribute("href").slice(1) });
    });
  }
  // A jump within the page keeps the state in the URL.
  for (const link of document.querySelectorAll('nav a, .skip')) {
    link.addEventListener("click", event => {
      event.preventDefault();
      const target = document.querySelector(link.getAttribute("href"));
      target.tabIndex = -1;
      target.scrollIntoView();
      target.focus({ preventScroll: true });
    });
  }
  form.addEventListener("input", event => change({ [event.target.name]: event.target.value }));
  form.addEventListener("submit", event => event.preventDefault());
  document.getElementById("reset").addEventListener("click", () => { state = {}; change({}); });
  dialog.addEventListener("close", () => change({ cell: "" }));
  window.addEventListener("hashchange", () => { state = read(); show(); });
  form.hidden = tables.length === 0;
  show();
})();
