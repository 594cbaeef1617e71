"use strict";
// All text is set as text, never as markup: what stands on the page came from records that anybody may have written.
(() => {
  const root = document.documentElement;
  const stored = (() => { try { return localStorage.getItem("theme"); } catch { return null; } })();
  if (stored === "light" || stored === "dark") root.dataset.theme = stored;
  root.classList.add("js");
  const byId = (id) => document.getElementById(id);
  const make = (tag, text, name) => {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text;
    if (name) node.className = name;
    return node;
  };

  function themes() {
    const dark = matchMedia("(prefers-color-scheme: dark)");
    byId("theme").addEventListener("click", () => {
      const now = root.dataset.theme || (dark.matches ? "dark" : "light");
      root.dataset.theme = now === "dark" ? "light" : "dark";
      try { localStorage.setItem("theme", root.dataset.theme); } catch { /* a private window: for this visit only */ }
    });
  }

  // Rows: filter and order
  const rows = () => [...document.querySelectorAll(".cells .row")];
  const shown = () => rows().filter((row) => !row.hidden && row.dataset.run);

  function filters() {
    const field = byId("filter"), cited = byId("cited"), count = byId("count");
    const kinds = [...document.querySelectorAll(".kinds button")];
    const all = rows();
    const texts = new Map(all.map((row) =>
      [row, (row.closest("tbody").dataset.title + " " + row.textContent).toLowerCase().replace(/\s+/g, " ")]));
    const apply = () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      const wanted = new Set(kinds.filter((one) => one.getAttribute("aria-pressed") === "true").map((one) => one.dataset.kind));
      let own = 0, fit = 0, others = 0;
      for (const row of all) {
        const isCited = "cited" in row.dataset;
        const fits = words.every((word) => texts.get(row).includes(word));
        row.hidden = !fits || (isCited && !cited.checked) || (wanted.size > 0 && !wanted.has(row.dataset.kind));
        if (isCited) others += !row.hidden;
        else { own += 1; fit += !row.hidden; }
      }
      for (const body of document.querySelectorAll(".cells tbody")) body.hidden = !body.querySelector(".row:not([hidden])");
      for (const sheet of document.querySelectorAll(".sheet")) sheet.hidden = !sheet.querySelector(".row:not([hidden])");
      byId("nothing").hidden = fit + others > 0;
      count.textContent = `${fit} of ${own} cells` + (others ? `, ${others} cited` : "");
    };
    field.addEventListener("input", apply);
    cited.addEventListener("change", apply);
    for (const one of kinds) one.addEventListener("click", () => {
      one.setAttribute("aria-pressed", String(one.getAttribute("aria-pressed") !== "true"));
      apply();
    });
    byId("reset").addEventListener("click", () => {
      field.value = "";
      for (const one of kinds) one.setAttribute("aria-pressed", "false");
      apply();
      field.focus();
    });
    document.addEventListener("keydown", (event) => {
      const typing = event.target.closest("input, select, textarea");
      if (event.key === "/" && !typing && !byId("why").open) { event.preventDefault(); field.focus(); field.select(); }
      if (event.key === "Escape" && event.target === field) { field.value = ""; apply(); }
    });
    apply();
  }

  function orders() {
    rows().forEach((row, index) => { row.dataset.place = index; });
    const kinds = [...document.querySelectorAll(".kinds button")].map((one) => one.dataset.kind);
    const keyOf = {
      "": (row) => Number(row.dataset.place),
      method: (row) => row.dataset.method.toLowerCase(),
      verdict: (row) => { const at = kinds.indexOf(row.dataset.kind); return at < 0 ? kinds.length : at; },
    };
    const order = (table, by, way) => {
      const key = keyOf[by] || ((row) => (by in row.dataset ? Number(row.dataset[by]) : null));
      for (const body of table.tBodies) {
        const sorted = [...body.querySelectorAll(".row")].map((row) => [key(row), row]).sort(([a, one], [b, two]) => {
          if (a === null || b === null) return (a === null) - (b === null) || one.dataset.place - two.dataset.place;
          const less = typeof a === "string" ? a.localeCompare(b, undefined, { numeric: true }) : a - b;
          return less * way || one.dataset.place - two.dataset.place;
        });
        body.append(...sorted.map(([, row]) => row));
      }
      for (const button of table.tHead.querySelectorAll("[data-sort]")) {
        const head = button.closest("th");
        if (button.dataset.sort === by) head.setAttribute("aria-sort", way > 0 ? "ascending" : "descending");
        else head.removeAttribute("aria-sort");
      }
    };
    for (const table of document.querySelectorAll(".cells")) {
      table.tHead.addEventListener("click", (event) => {
        const button = event.target.closest("[data-sort]");
        if (!button) return;
        const now = button.closest("th").getAttribute("aria-sort"), by = button.dataset.sort;
        const first = by === "method" || by === "verdict" ? 1 : -1;
        const way = now === null ? first : (now === "ascending" ? 1 : -1) === first ? -first : 0;
        order(table, way ? by : "", way || 1);
        byId("order").selectedIndex = 0;
      });
    }
    byId("order").addEventListener("change", (event) => {
      const [by, way] = event.target.value.split(":");
      for (const table of document.querySelectorAll(".cells")) order(table, by, Number(way || 1));
    });
  }

  // What stands behind a row
  function behind() {
    const dialog = byId("why");
    let current = null;
    const show = (row) => {
      const article = byId(row.dataset.run);
      if (!article) return;
      current = row;
      const value = (name) => row.querySelector(name)?.textContent.trim() || "";
      const body = row.closest("tbody").querySelector(".head th");
      byId("why-cell").textContent = row.id;
      byId("why-title").textContent =
        [value(".method"), body.firstChild.textContent.trim(), value(".arch")].filter(Boolean).join(" · ");
      const facts = make("dl");
      const metric = body.querySelector("small").textContent;
      const best = value(".ours");
      const lines = [["Paper, " + metric, value('[data-label="Paper"]')], ["Ours, best epoch", best],
        ["Ours, last epoch", value('[data-label="Last epoch"]')], ["Seeds", value(".n")], ["Scale", value(".scale")]];
      for (const [label, text] of lines) {
        if (!text) continue;
        const pair = make("div");
        pair.append(make("dt", label), make("dd", text));
        facts.append(pair);
      }
      const verdict = make("p", undefined, row.querySelector(".verdict").className);
      verdict.append(...[...row.querySelector(".why").cloneNode(true).childNodes]);
      const parts = [facts];
      const strip = row.querySelector(".strip");
      if (strip && best) parts.push(strip.cloneNode(true), make("p", strip.querySelector("title").textContent, "quiet"));
      parts.push(verdict);
      if (row.dataset.where) parts.push(make("p", "Paper: " + row.dataset.where, "quiet"));
      byId("why-row").replaceChildren(...parts);
      const curves = make("div", undefined, "curves");
      for (const chart of article.querySelectorAll(":scope > .chart")) curves.append(chart.cloneNode(true));
      const text = article.querySelector(".card").cloneNode(true);
      text.querySelector(".command").after(curves);
      byId("why-body").replaceChildren(text);
      dialog.scrollTop = 0;
      if (!dialog.open) dialog.showModal();
      history.replaceState(null, "", "#" + row.id);
    };
    const turn = (by) => {
      const list = shown();
      const next = list[list.indexOf(current) + by];
      if (next) show(next);
    };
    document.addEventListener("click", (event) => {
      const row = event.target.closest(".cells .row[data-run]");
      if (!row || event.ctrlKey || event.metaKey || String(getSelection())) return;
      event.preventDefault();
      show(row);
    });
    dialog.addEventListener("close", () => {
      history.replaceState(null, "", location.pathname + location.search);
      current?.querySelector("a.why")?.focus({ preventScroll: false });
    });
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
    dialog.addEventListener("keydown", (event) => {
      if (event.target.closest(".chart svg")) return;
      if (event.key === "ArrowRight") turn(1);
      if (event.key === "ArrowLeft") turn(-1);
    });
    byId("close").addEventListener("click", () => dialog.close());
    byId("next").addEventListener("click", () => turn(1));
    byId("back").addEventListener("click", () => turn(-1));
    const linked = () => {
      let name = location.hash.slice(1);
      try { name = decodeURIComponent(name); } catch { /* not of this page's making */ }
      const target = byId(name);
      if (target?.matches(".row[data-run]")) show(target);
      else if (target?.matches(".run")) target.querySelector("details").open = true;
    };
    addEventListener("hashchange", linked);
    linked();
  }

  // Charts: values under the pointer, or under the cursor that the arrow keys move
  function charts() {
    const tip = byId("tip");
    const read = (svg) => (svg.hover ??= (() => {
      const data = JSON.parse(svg.dataset.hover);
      data.head = data.head.split("|");
      data.rows = data.rows.map(([label, words]) => [label, words.split("|")]);
      return data;
    })());
    const hide = (svg) => { tip.hidden = true; svg.querySelector(".cursor").setAttribute("hidden", ""); };
    const point = (svg, index) => {
      const data = read(svg);
      svg.place = Math.max(0, Math.min(data.at.length - 1, index));
      const [top, bottom] = svg.dataset.span.split(" ");
      const cursor = svg.querySelector(".cursor"), x = data.at[svg.place];
      cursor.setAttribute("d", `M${x} ${top}V${bottom}`);
      cursor.removeAttribute("hidden");
      const lines = data.rows.filter(([, words]) => words[svg.place]).map(([label, words]) => make("div", `${label}: ${words[svg.place]}${data.unit}`));
      tip.replaceChildren(make("b", data.of + data.head[svg.place]), ...lines);
      (svg.closest("dialog") || document.body).append(tip);
      tip.hidden = false;
      const frame = svg.getBoundingClientRect();
      const left = frame.left + x / svg.viewBox.baseVal.width * frame.width;
      const room = document.documentElement.clientWidth - tip.offsetWidth - 8;
      tip.style.left = `${Math.max(8, Math.min(room, left + 12))}px`;
      tip.style.top = `${Math.max(8, frame.top - tip.offsetHeight / 2)}px`;
    };
    const chartOf = (event) => event.target.closest?.("svg[data-hover]");
    document.addEventListener("pointermove", (event) => {
      const svg = chartOf(event);
      if (!svg) { if (!tip.hidden && event.pointerType === "mouse") document.querySelectorAll("svg[data-hover]").forEach(hide); return; }
      const frame = svg.getBoundingClientRect();
      const x = (event.clientX - frame.left) / frame.width * svg.viewBox.baseVal.width;
      const at = read(svg).at;
      point(svg, at.reduce((best, one, index) => (Math.abs(one - x) < Math.abs(at[best] - x) ? index : best), 0));
    });
    document.addEventListener("keydown", (event) => {
      const svg = chartOf(event);
      if (!svg) return;
      if (event.key === "ArrowRight" || event.key === "ArrowLeft") {
        event.preventDefault();
        point(svg, svg.place === undefined ? 0 : svg.place + (event.key === "ArrowRight" ? 1 : -1));
      }
    });
    document.addEventListener("focusout", (event) => { const svg = chartOf(event); if (svg) hide(svg); });
    addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });
  }

  function copies() {
    document.addEventListener("click", async (event) => {
      const button = event.target.closest(".copy");
      if (!button) return;
      const code = button.parentElement.querySelector("code");
      try { await navigator.clipboard.writeText(code.textContent); button.textContent = "Copied"; }
      catch { getSelection().selectAllChildren(code); button.textContent = "Selected"; }
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
  }

  document.addEventListener("DOMContentLoaded", () => { themes(); orders(); filters(); behind(); charts(); copies(); });
})();
