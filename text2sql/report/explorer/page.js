"use strict";
// Data become text nodes and nothing else: no markup is ever made of them.

const PAIRS = [
  ["", "All"], ["won", "Won"], ["lost", "Lost"], ["wrong", "Both wrong"], ["right", "Both right"], ["none", "No verdict"],
];
const LABELS = ["complexity", "domain", "language"];
const HEIGHT = 64; // of a row of the list, as in the style
const MARK = { true: ["✓", "right"], false: ["✗", "wrong"], null: ["–", "none"] };
const KEYWORDS = /^(select|from|where|group|order|by|having|limit|offset|join|left|right|inner|outer|full|cross|natural|on|using|and|or|not|in|is|null|like|glob|between|exists|as|distinct|union|all|except|intersect|case|when|then|else|end|with|recursive|over|partition|asc|desc|create|table|view|index|primary|foreign|key|references|unique|check|default|insert|into|values)$/i;

const $ = (id) => document.getElementById(id);
// arms: names; compared: places of the two arms that questions are won and lost between, the second over the first
let arms, compared, rows, schemas, visible = [], place = -1;

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== null));
  return element;
}

async function unpack(text) {
  const bytes = atob(text), packed = new Uint8Array(bytes.length);
  for (let i = 0; i < bytes.length; i++) packed[i] = bytes.charCodeAt(i);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

function pairOf(row) {
  const [before, after] = compared.map((arm) => row.arms[arm].ex);
  if (before === null || after === null) return "none";
  return before === after ? (before ? "right" : "wrong") : after ? "won" : "lost";
}

// What the text search looks through; made when it is first needed.
function haystack(row) {
  row.haystack ??= [row.id, row.db_id, row.question, row.gold, ...row.arms.flatMap((arm) => [arm.sql ?? "", arm.text])]
    .join("\n").toLowerCase();
  return row.haystack;
}

// --- Filters

function tally(values) {
  const counts = new Map();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return counts;
}

function fill(select, values) {
  const counts = [...tally(values)].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  select.append(make("option", { value: "" }, "any"));
  counts.forEach(([value, count]) => select.append(make("option", { value }, `${value} (${count})`)));
}

function prepare() {
  const counts = tally(rows.map((row) => row.pair));
  for (const [value, name] of PAIRS) {
    const count = value ? counts.get(value) ?? 0 : rows.length;
    if (value === "none" && !count) continue;
    const input = make("input", { type: "radio", name: "pair", value });
    if (!value) input.defaultChecked = true;
    $("pairs").append(make("label", {}, input, name, make("span", {}, count.toLocaleString("en"))));
  }
  arms.forEach((name, arm) => fill($(`arm-${name}`), rows.map((row) => row.arms[arm].outcome)));
  LABELS.forEach((label) => fill($(label), rows.map((row) => row[label] ?? "none")));
  const scored = rows.filter((row) => row.pair !== "none");
  const share = (arm) => `${((100 * scored.filter((row) => row.arms[arm].ex).length) / scored.length).toFixed(1)} %`;
  $("summary").textContent = `execution accuracy ${arms.map((name, arm) => `${share(arm)} ${name}`).join(", ")}, on ${scored.length.toLocaleString("en")} questions`;
}

function filter() {
  const pair = new FormData($("filters")).get("pair");
  const text = $("text").value.trim().toLowerCase();
  const outcomes = arms.map((name) => $(`arm-${name}`).value);
  const labels = LABELS.map((label) => $(label).value);
  const current = visible[place];
  visible = rows.filter((row) =>
    (!pair || row.pair === pair) &&
    outcomes.every((outcome, arm) => !outcome || row.arms[arm].outcome === outcome) &&
    labels.every((value, i) => !value || (row[LABELS[i]] ?? "none") === value) &&
    (!text || haystack(row).includes(text)));
  $("count").textContent = visible.length === rows.length
    ? `${rows.length.toLocaleString("en")} questions`
    : `${visible.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")} questions`;
  $("list").scrollTop = 0;
  show(Math.max(0, visible.indexOf(current)));
}

function clear() {
  $("filters").reset();
  filter();
}

// --- The list: only what is in sight is in the page

function draw() {
  const list = $("list"), from = Math.max(0, Math.floor(list.scrollTop / HEIGHT) - 8);
  const to = Math.min(visible.length, from + Math.ceil(list.clientHeight / HEIGHT) + 16);
  $("rows").style.height = `${visible.length * HEIGHT}px`;
  $("rows").replaceChildren(...visible.slice(from, to).map((row, i) => listed(row, from + i)));
  if (visible[place]) list.setAttribute("aria-activedescendant", `row-${place}`);
  else list.removeAttribute("aria-activedescendant");
}

function listed(row, number) {
  const marks = row.arms.flatMap((arm, i) => {
    const [sign, kind] = MARK[arm.ex];
    return [i ? " " : "", make("span", { class: kind, title: arms[i] }, sign)];
  });
  const element = make(
    "div",
    { class: "row", role: "option", id: `row-${number}`, "aria-selected": number === place,
      "aria-posinset": number + 1, "aria-setsize": visible.length },
    make("div", {}, row.question),
    make("div", { class: "about" }, make("span", { class: "marks", "aria-label": said(row) }, ...marks),
      [row.domain, row.complexity].filter(Boolean).join(" · ") || row.db_id));
  element.style.top = `${number * HEIGHT}px`;
  element.addEventListener("click", () => {
    show(number);
    $("detail").scrollIntoView({ block: "nearest" }); // below the list on a narrow screen
  });
  return element;
}

const said = (row) => PAIRS.find(([value]) => value === row.pair)[1].toLowerCase();

function reveal() {
  const list = $("list"), top = place * HEIGHT;
  if (top < list.scrollTop) list.scrollTop = top;
  if (top + HEIGHT > list.scrollTop + list.clientHeight) list.scrollTop = top + HEIGHT - list.clientHeight;
}

// --- One question

function show(number) {
  place = visible.length ? Math.min(Math.max(number, 0), visible.length - 1) : -1;
  reveal();
  draw();
  const row = visible[place];
  $("detail").replaceChildren(...(row ? shown(row) : [make("p", { class: "empty" }, "No question fits these filters.")]));
  $("detail").scrollTop = 0;
  if (row && addressed() !== row.id) history.replaceState(null, "", link(row));
}

// The id that the address ends in; none where it is no id at all.
function addressed() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return "";
  }
}

const link = (row) => `#${encodeURIComponent(row.id.toWellFormed?.() ?? row.id)}`;

function shown(row) {
  const button = (name, key, step) => {
    const element = make("button", { type: "button", title: `key ${key}`, "aria-keyshortcuts": key }, name, " ", make("kbd", {}, key));
    element.disabled = !visible[place + step];
    element.addEventListener("click", () => show(place + step));
    return element;
  };
  const about = [row.complexity, row.domain, row.language, `database ${row.db_id}`];
  return [
    make("div", { class: "bar" }, button("← Previous", "k", -1), button("Next →", "j", 1),
      make("span", {}, `${(place + 1).toLocaleString("en")} of ${visible.length.toLocaleString("en")}`),
      make("a", { class: "id", href: link(row), title: "link to this question" }, row.id)),
    make("h2", {}, row.question),
    make("p", { class: "tags" }, about.filter(Boolean).join(" · ")),
    make("section", { class: "card", "aria-label": "Gold" },
      make("header", {}, make("h3", {}, "Gold")), code(row.gold),
      ...Object.entries(row.gold_results).flatMap(([number, result]) => table(result, number, row.databases))),
    make("div", { class: "arms" }, ...row.arms.map((arm, i) => armCard(arm, arms[i], row))),
    make("details", { class: "card", open: "" }, make("summary", {}, "Schema"), code(schemas[row.schema])),
  ];
}

function armCard(arm, name, row) {
  const [sign, kind] = MARK[arm.ex];
  const judge = arm.judge && make("p", { class: "note" }, `Judge: ${arm.judge.verdict.replace("_", " ")}`,
    arm.judge.reason ? ` – ${arm.judge.reason}` : "");
  const ended = arm.finish_reason === "length" ? ", cut at the token limit" : "";
  const raw = make("details", {}, make("summary", {}, `Text as generated${ended}`), make("pre", { class: "raw" }, arm.text || "(nothing)"));
  raw.open = arm.sql === null || arm.sql.trim() !== arm.text.trim();
  return make("section", { class: "card", "aria-label": name },
    make("header", {}, make("h3", {}, name), make("span", { class: `badge ${kind}` }, `${sign} ${arm.outcome.replaceAll("_", " ")}`)),
    arm.sql === null ? make("p", { class: "note" }, "No SQL found in the text.") : code(arm.sql),
    arm.error ? make("p", { class: "error" }, arm.error) : null,
    arm.harsh ? make("p", { class: "note" }, "Wrong on harsh databases: NULL wherever allowed, shared names, missing partners.") : null,
    arm.agreed ? make("p", { class: "note" }, `${arm.agreed[0]} of ${arm.agreed[1]} candidates have this result.`) : null,
    arm.failed && row.databases > 1 ? make("p", { class: "note" }, `Another result on ${arm.failed} of ${row.databases} databases.`) : null,
    ...(arm.result ? table(arm.result, arm.result.database, row.databases) : []),
    judge, raw);
}

function table(result, number, databases) {
  const where = databases > 1 ? ` on database ${number} of ${databases}` : "";
  if (result.error) return [make("p", { class: "error" }, `${result.error}${where}`)];
  const more = [];
  if (result.row_count > result.rows.length) more.push(`the first ${result.rows.length}`);
  if (result.column_count > result.columns.length) more.push(`${result.columns.length} of ${result.column_count} columns`);
  const count = `${result.row_count.toLocaleString("en")} ${result.row_count === 1 ? "row" : "rows"}${where}${more.length ? `, ${more.join(", ")} shown` : ""}`;
  const head = make("tr", {}, ...result.columns.map((name) => make("th", { scope: "col" }, name)));
  const body = result.rows.map((cells) => make("tr", {}, ...cells.map(cell)));
  return [
    make("div", { class: "table" }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...body))),
    make("p", { class: "note" }, count),
  ];
}

function cell(value) {
  if (value === null) return make("td", { class: "null" }, "NULL");
  if (typeof value === "number") return make("td", { class: "number" }, String(value));
  return make("td", {}, value === "" ? "''" : value);
}

// SQL with its keywords, literals and comments marked.
function code(sql) {
  const tokens = sql.match(/--[^\n]*|\/\*[^]*?\*\/|'(?:[^']|'')*'?|[A-Za-z_]\w*|\d+(?:\.\d+)?|\s+|[^]/g) ?? [];
  const marked = tokens.map((token) => {
    const kind = /^(--|\/\*)/.test(token) ? "comment" : token[0] === "'" ? "string" : KEYWORDS.test(token) ? "keyword" : null;
    return kind ? make("span", { class: kind }, token) : token;
  });
  const pre = make("pre", { class: "sql" });
  pre.append(make("code", {}, ...marked));
  return pre;
}

// --- Keys, links, start

const STEPS = { j: 1, ArrowDown: 1, ArrowRight: 1, k: -1, ArrowUp: -1, ArrowLeft: -1 };

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.closest("[type=search], select");
  const arrow = event.key.startsWith("Arrow");
  if (arrow && event.target.closest("[type=radio], .table, .raw")) return;
  if (event.key === "/" && !typing) {
    event.preventDefault();
    $("text").focus();
  } else if (event.key === "Escape" && typing) {
    typing.blur();
  } else if (event.key in STEPS && !typing) {
    event.preventDefault();
    show(place + STEPS[event.key]);
  }
}

function follow() {
  const id = addressed();
  if (!id) return;
  const fits = (row) => row.id === id;
  if (!visible.some(fits) && rows.some(fits)) {
    clear();
  }
  const number = visible.findIndex(fits);
  if (number >= 0) show(number);
}

async function start() {
  ({ arms, pair: compared, rows, schemas } = await unpack($("data").textContent));
  $("data").remove();
  rows.forEach((row) => (row.pair = pairOf(row)));
  prepare();
  const wanted = location.hash;
  filter();
  if (wanted) {
    history.replaceState(null, "", wanted);
    follow();
  }
  $("filters").addEventListener("input", filter);
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  $("clear").addEventListener("click", clear);
  $("list").addEventListener("scroll", draw, { passive: true });
  addEventListener("keydown", onKey);
  addEventListener("hashchange", follow);
  addEventListener("resize", draw);
  document.documentElement.dataset.ready = performance.now().toFixed();
}

start();
