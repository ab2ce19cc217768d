"use strict";
// Data become text nodes and nothing else: no markup is ever made of them.

const PAIRS = [
  ["", "All"], ["won", "Won"], ["lost", "Lost"], ["wrong", "Both wrong"], ["right", "Both right"], ["none", "No verdict"],
];
const LABELS = ["complexity", "domain", "language"];
// What failures are grouped by: the property of an arm's answer, or else of the question.
const GROUPS = [
  ["cause", "Cause", (row, answer) => answer.causes[0]],
  ["kind", "Outcome and error", (row, answer) => answer.kind],
  ["level", "Complexity", (row) => row.complexity ?? "none"],
];
const FEW = 8; // of a group's lines, until more are asked for
const HEIGHT = 64; // of a row of the list, as in the style
const SHORT = 24; // characters of a cell that stands in one line
const COMPARED = 1e6; // pairs of tokens; longer texts are shown without marks
const MARK = { true: ["✓", "right"], false: ["✗", "wrong"], null: ["–", "none"] };
const KEYWORDS = /^(select|from|where|group|order|by|having|limit|offset|join|left|right|inner|outer|full|cross|natural|on|using|and|or|not|in|is|null|like|glob|between|exists|as|distinct|union|all|except|intersect|case|when|then|else|end|with|recursive|over|partition|asc|desc|create|table|view|index|primary|foreign|key|references|unique|check|default|insert|into|values)$/i;

const $ = (id) => document.getElementById(id);
const counted = (number) => number.toLocaleString("en");
// arms: names; compared: places of the two arms that questions are won and lost between, the second over the first;
// chosen: place of the arm whose failures are grouped, `why` the groups that are chosen
let arms, compared, rows, schemas, facets, visible = [], place = -1, chosen = 0;
const why = { wrong: "", cause: "", kind: "", level: "" };

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

const textOf = (answer) => answer.text ?? answer.sql ?? "";

// --- Search

// What the search looks through of a question, apart from its schema.
function haystack(row) {
  row.haystack ??= [
    row.id, row.db_id, row.question, row.gold,
    ...row.arms.flatMap((arm) => [
      arm.sql ?? "", arm.text ?? "", arm.error ?? "", arm.outcome.replaceAll("_", " "), arm.causes.join(", "), arm.judge?.reason ?? "",
    ]),
  ].join("\n").toLowerCase();
  return row.haystack;
}

let lowered; // the schemas, as they are searched

function search(text) {
  if (!text) return () => true;
  lowered ??= schemas.map((schema) => schema.toLowerCase());
  const inSchema = lowered.map((schema) => schema.includes(text));
  return (row) => inSchema[row.schema] || haystack(row).includes(text);
}

// Prepares the search while nothing else is to do, so that its first letter is not slower than the others.
function prepareSearch(from = 0) {
  const soon = globalThis.requestIdleCallback ?? ((task) => setTimeout(task, 50));
  soon(() => {
    rows.slice(from, from + 250).forEach(haystack);
    if (from + 250 < rows.length) prepareSearch(from + 250);
  });
}

// --- Filters: each has a value of a row, the value that is chosen, and shows how many rows every value would leave

function tally(values) {
  const counts = new Map();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return counts;
}

const byCount = (counts) => [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).map(([value]) => value);

// Radio buttons that look like one switch; returns a function that shows a number beside each.
function choice(fieldset, name, options, initial) {
  const shown = new Map();
  for (const [value, label] of options) {
    const input = make("input", { type: "radio", name, value }), number = make("span");
    input.defaultChecked = value === initial;
    $(fieldset).append(make("label", {}, input, label, number));
    shown.set(value, number);
  }
  return shown;
}

function pairFacet() {
  const unsure = rows.some((row) => row.pair === "none");
  const shown = choice("pairs", "pair", PAIRS.filter(([value]) => value !== "none" || unsure), "");
  return {
    value: (row) => row.pair,
    chosen: () => new FormData($("filters")).get("pair"),
    show: (counts, all) => shown.forEach((number, value) => (number.textContent = counted(value ? counts.get(value) ?? 0 : all))),
  };
}

function selectFacet(id, value) {
  const select = $(id), options = new Map();
  select.append(make("option", { value: "" }, "any"));
  for (const name of byCount(tally(rows.map(value)))) {
    options.set(name, make("option", { value: name }));
    select.append(options.get(name));
  }
  return {
    value,
    chosen: () => select.value,
    show: (counts) => options.forEach((option, name) => (option.textContent = `${name} (${counted(counts.get(name) ?? 0)})`)),
  };
}

// The failures of the chosen arm, as a whole or by a property; rows that it has right have no value.
function failureFacet(name, value) {
  return {
    value: (row) => (row.arms[chosen].ex === false ? value(row, row.arms[chosen]) : null),
    chosen: () => why[name],
    show: (counts) => (name === "wrong" ? showWrong(counts.get("wrong") ?? 0) : showGroup(name, counts)),
  };
}

function prepare() {
  choice("of", "of", arms.map((name, arm) => [String(arm), name]), String(chosen));
  GROUPS.forEach(([name, title]) =>
    $("groups").append(make("section", { "aria-label": title }, make("h2", {}, title), make("div", { id: `group-${name}` }))));
  facets = [
    pairFacet(),
    ...arms.map((name, arm) => selectFacet(`arm-${name}`, (row) => row.arms[arm].outcome)),
    ...LABELS.map((label) => selectFacet(label, (row) => row[label] ?? "none")),
    failureFacet("wrong", () => "wrong"),
    ...GROUPS.map(([name, , value]) => failureFacet(name, value)),
  ];
  const scored = rows.filter((row) => row.pair !== "none");
  const share = (arm) => `${((100 * scored.filter((row) => row.arms[arm].ex).length) / scored.length).toFixed(1)} %`;
  $("summary").textContent = `execution accuracy ${arms.map((name, arm) => `${share(arm)} ${name}`).join(", ")}, on ${counted(scored.length)} questions`;
}

// Makes a group's buttons, the largest first; their numbers are filled in with every filter.
function fillGroup(name, value) {
  const failed = rows.filter((row) => row.arms[chosen].ex === false);
  const counts = tally(failed.map((row) => value(row, row.arms[chosen])));
  const buttons = byCount(counts).map((group) => {
    const button = make("button", { type: "button", class: "group", "aria-pressed": "false" }, make("span", {}, group), make("b"), make("i"));
    button.dataset.group = group;
    button.lastChild.style.width = `${(100 * counts.get(group)) / failed.length}%`;
    button.addEventListener("click", () => {
      why[name] = why[name] === group ? "" : group;
      filter();
    });
    return button;
  });
  const rest = make("details", {}, make("summary", {}, `${buttons.length - FEW} more`), ...buttons.slice(FEW));
  $(`group-${name}`).replaceChildren(...buttons.slice(0, FEW), ...(buttons.length > FEW ? [rest] : []));
}

function showGroup(name, counts) {
  for (const button of $(`group-${name}`).querySelectorAll("button")) {
    const group = button.dataset.group, count = counts.get(group) ?? 0;
    button.querySelector("b").textContent = counted(count);
    button.setAttribute("aria-pressed", why[name] === group);
    button.hidden = !count && why[name] !== group;
  }
}

function showWrong(count) {
  $("wrong").textContent = `${counted(count)} wrong`;
  $("wrong").setAttribute("aria-pressed", why.wrong !== "");
}

function choose(arm) {
  chosen = arm;
  Object.keys(why).forEach((name) => (why[name] = ""));
  GROUPS.forEach(([name, , value]) => fillGroup(name, value));
}

// One pass: a row that every filter lets through counts for all of them, one that a single filter keeps out for that one.
function filter() {
  const found = search($("text").value.trim().toLowerCase());
  const wanted = facets.map((facet) => facet.chosen());
  const counts = facets.map(() => new Map()), all = facets.map(() => 0);
  const count = (facet, value) => {
    all[facet]++;
    if (value !== null) counts[facet].set(value, (counts[facet].get(value) ?? 0) + 1);
  };
  const current = visible[place], values = new Array(facets.length);
  visible = [];
  for (const row of rows) {
    let out = -1, several = false;
    for (let i = 0; i < facets.length && !several; i++) {
      values[i] = facets[i].value(row);
      if (wanted[i] && values[i] !== wanted[i]) [out, several] = [i, out >= 0];
    }
    if (several || !found(row)) continue;
    if (out >= 0) count(out, values[out]);
    else {
      visible.push(row);
      values.forEach((value, i) => count(i, value));
    }
  }
  facets.forEach((facet, i) => facet.show(counts[i], all[i]));
  $("count").textContent = visible.length === rows.length
    ? `${counted(rows.length)} questions`
    : `${counted(visible.length)} of ${counted(rows.length)} questions`;
  $("csv").disabled = !visible.some((row) => row.arms[chosen].ex === false);
  $("list").scrollTop = 0;
  show(Math.max(0, visible.indexOf(current)));
}

function clear() {
  const arm = chosen;
  $("filters").reset();
  document.querySelector(`[name=of][value="${arm}"]`).checked = true;
  choose(arm);
  filter();
}

// --- The failing rows in sight as CSV

const FIELDS = [
  ["id", (row) => row.id], ["db_id", (row) => row.db_id], ["complexity", (row) => row.complexity], ["domain", (row) => row.domain],
  ["language", (row) => row.language], ["outcome", (row, answer) => answer.outcome], ["error", (row, answer) => answer.error],
  ["cause", (row, answer) => answer.causes[0]], ["causes", (row, answer) => answer.causes.join(", ")],
  ["question", (row) => row.question], ["gold", (row) => row.gold], ["sql", (row, answer) => answer.sql],
];

// A cell; what a spreadsheet would take for a formula gets a quote before it.
function csvCell(value) {
  const text = String(value ?? ""), safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

function saveCsv() {
  const failed = visible.filter((row) => row.arms[chosen].ex === false);
  const lines = [FIELDS.map(([name]) => name), ...failed.map((row) => FIELDS.map(([, value]) => value(row, row.arms[chosen])))];
  const text = lines.map((line) => `${line.map(csvCell).join(",")}\n`).join("");
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  make("a", { href: url, download: `failures-${arms[chosen]}.csv` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
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
  const about = row.arms[chosen].ex === false ? row.arms[chosen].causes[0] : [row.domain, row.complexity].filter(Boolean).join(" · ") || row.db_id;
  const element = make(
    "div",
    { class: "row", role: "option", id: `row-${number}`, "aria-selected": number === place,
      "aria-posinset": number + 1, "aria-setsize": visible.length },
    make("div", {}, row.question),
    make("div", { class: "about" }, make("span", { class: "marks", role: "img", "aria-label": said(row) }, ...marks), about));
  element.style.top = `${number * HEIGHT}px`;
  element.addEventListener("click", () => {
    show(number);
    $("detail").scrollIntoView({ block: "nearest" }); // below the list on a narrow screen
  });
  return element;
}

const said = (row) => row.arms.map((arm, i) => `${arms[i]} ${{ true: "right", false: "wrong", null: "without verdict" }[arm.ex]}`).join(", ");

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
  const answer = row.arms[chosen], wrong = answer.ex === false && answer.sql !== null;
  const [lacking] = wrong ? differing(row.gold, answer.sql) : [null];
  const legend = lacking?.size ? make("p", { class: "note" }, `Marked: what the answer of ${arms[chosen]} lacks.`) : null;
  return [
    make("div", { class: "bar" }, button("← Previous", "k", -1), button("Next →", "j", 1),
      make("span", {}, `${counted(place + 1)} of ${counted(visible.length)}`),
      make("a", { class: "id", href: link(row), title: "link to this question" }, row.id)),
    make("h2", { class: "question" }, row.question),
    make("p", { class: "tags" }, about.filter(Boolean).join(" · ")),
    make("div", { class: "sides" },
      make("section", { class: "card gold", "aria-label": "Gold" },
        make("header", {}, make("h3", {}, "Gold")), code(row.gold, lacking, "lacking"), legend,
        ...Object.entries(row.gold_results).flatMap(([number, result]) =>
          table(result, number, row.databases, answer.result?.database === Number(number) ? rowsApart(result, answer.result, row.ordered, answer) : null))),
      armCard(answer, arms[chosen], row), // beside the gold
      ...row.arms.flatMap((arm, i) => (i === chosen ? [] : [armCard(arm, arms[i], row)]))),
    make("details", { class: "card", open: "" }, make("summary", {}, "Schema"), code(schemas[row.schema])),
  ];
}

function armCard(arm, name, row) {
  const [sign, kind] = MARK[arm.ex], text = textOf(arm), wrong = arm.ex === false;
  const judge = arm.judge && make("p", { class: "note" }, `Judge: ${arm.judge.verdict.replace("_", " ")}`,
    arm.judge.reason ? ` – ${arm.judge.reason}` : "");
  const ended = arm.finish_reason === "length" ? ", cut at the token limit" : "";
  const raw = make("details", {}, make("summary", {}, `Text as generated${ended}`), make("pre", { class: "raw", tabindex: 0 }, text || "(nothing)"));
  raw.open = arm.sql === null || arm.sql.trim() !== text.trim();
  const other = wrong && arm.sql !== null ? differing(row.gold, arm.sql)[1] : null;
  const gold = arm.result ? row.gold_results[arm.result.database] : null;
  const apart = gold ? rowsApart(arm.result, gold, row.ordered, arm) : null;
  return make("section", { class: "card", "aria-label": name },
    make("header", {}, make("h3", {}, name), make("span", { class: `badge ${kind}` }, `${sign} ${arm.outcome.replaceAll("_", " ")}`)),
    reasons(arm),
    arm.sql === null ? make("p", { class: "note" }, "No SQL found in the text.") : code(arm.sql, other, "other"),
    arm.error ? make("p", { class: "error" }, arm.error) : null,
    arm.harsh ? make("p", { class: "note" }, "Wrong on harsh databases: NULL wherever allowed, shared names, missing partners.") : null,
    arm.agreed ? make("p", { class: "note" }, `${arm.agreed[0]} of ${arm.agreed[1]} candidates have this result.`) : null,
    arm.failed && row.databases > 1 ? make("p", { class: "note" }, `Another result on ${arm.failed} of ${row.databases} databases.`) : null,
    ...(arm.result ? table(arm.result, arm.result.database, row.databases, apart) : []),
    arm.witness ? witness(arm.witness, row) : null,
    judge, raw);
}

// By what a wrong query differs from the gold, the greatest difference first; where it did not run, its outcome is above.
function reasons(arm) {
  const [first, ...more] = arm.outcome === "mismatch" ? arm.causes : arm.causes.slice(1);
  if (!first) return null;
  return make("p", { class: "note reasons" }, "Differs in ", make("strong", {}, first), more.length ? `; also ${more.join(", ")}` : "");
}

// A small database on which the answers differ, and what both give there.
function witness(found, row) {
  const part = (title, result, apart) => make("div", {}, make("h4", {}, title),
    result.rows.length ? table(result, 1, 1, apart)[0] : make("p", { class: "note" }, "no rows"));
  const whole = (lines, columns = null) => ({
    columns: columns ?? (lines[0] ?? []).map(() => ""), rows: lines, row_count: lines.length,
    column_count: (columns ?? lines[0] ?? []).length,
  });
  const gold = whole(found.gold), answer = whole(found.prediction), wrong = { ex: false };
  return make("details", { class: "witness", open: "" }, make("summary", {}, "The smallest rows found that show it"),
    make("div", { class: "tables" },
      ...Object.entries(found.tables).map(([name, given]) => part(name, whole(given.rows, given.columns), null))),
    make("div", { class: "tables" },
      part("gold gives", gold, rowsApart(gold, answer, row.ordered, wrong)),
      part("the answer gives", answer, rowsApart(answer, gold, row.ordered, wrong))));
}

// apart: places of rows that are marked as not in the other result.
function table(result, number, databases, apart) {
  const where = databases > 1 ? ` on database ${number} of ${databases}` : "";
  if (result.error) return [make("p", { class: "error" }, `${result.error}${where}`)];
  const more = [];
  if (result.row_count > result.rows.length) more.push(`the first ${result.rows.length}`);
  if (result.column_count > result.columns.length) more.push(`${result.columns.length} of ${result.column_count} columns`);
  const count = `${counted(result.row_count)} ${result.row_count === 1 ? "row" : "rows"}${where}${more.length ? `, ${more.join(", ")} shown` : ""}`;
  const marked = apart?.size ? [make("th", { scope: "col" }, make("span", { class: "hidden" }, "differs"))] : [];
  const named = result.columns.some((name) => name !== "");
  const head = make("tr", {}, ...marked, ...result.columns.map((name) => make("th", { scope: "col" }, name)));
  const body = result.rows.map((cells, i) => make("tr", apart?.has(i) ? { class: "apart" } : {},
    ...marked.map(() => make("td", {}, apart.has(i) ? "≠" : "")), ...cells.map(cell)));
  return [
    make("div", { class: "table", tabindex: 0, role: "group", "aria-label": count },
      make("table", {}, ...(named ? [make("thead", {}, head)] : []), make("tbody", {}, ...body))),
    make("p", { class: "note" }, count),
  ];
}

function cell(value) {
  if (value === null) return make("td", { class: "null" }, "NULL");
  if (typeof value === "number") return make("td", { class: "number" }, String(value));
  return make("td", value.length <= SHORT ? { class: "short" } : {}, value === "" ? "''" : value);
}

// --- Differences

// The places of a wrong answer's rows that the other result lacks: for certain, as only the first rows are known. Where
// no row is lacking and the gold has an order, the places that hold another row. Columns may stand in any order.
function rowsApart(result, other, ordered, arm) {
  if (arm.ex !== false || !result.rows || !other.rows) return null;
  const cut = (one) => one.column_count > one.columns.length;
  if (result.column_count !== other.column_count || cut(result) || cut(other)) return null;
  const key = (cells) => JSON.stringify(cells.map((value) => JSON.stringify(value)).sort());
  const left = tally(other.rows.map(key)), apart = new Set();
  result.rows.forEach((cells, i) => {
    const times = left.get(key(cells)) ?? 0;
    if (times) left.set(key(cells), times - 1);
    else if (other.row_count === other.rows.length) apart.add(i);
  });
  if (!apart.size && ordered && result.row_count === other.row_count) {
    result.rows.forEach((cells, i) => other.rows[i] && key(cells) !== key(other.rows[i]) && apart.add(i));
  }
  return apart;
}

const TOKENS = /--[^\n]*|\/\*[^]*?\*\/|'(?:[^']|'')*'?|"(?:[^"]|"")*"?|`[^`]*`?|(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*|\d+(?:\.\d+)?|<=|>=|<>|!=|\|\||\s+|[^]/g;
const tokensOf = (sql) => sql.match(TOKENS) ?? [];
const silent = (token) => /^(\s|--|\/\*|;)/.test(token);

// What a token says, however it is written: a name without quotes, and without the table or alias before it.
function saying(token) {
  if (/^["`]/.test(token)) return token.slice(1, -1).toLowerCase();
  return token[0] === "'" ? token : token.slice(token.lastIndexOf(".") + 1).toLowerCase() || token;
}

// The places of the tokens that only one of two queries has, by their longest common subsequence: [of one, of the other].
function differing(one, other) {
  const sides = [one, other].map((sql) => tokensOf(sql).map((token, i) => [saying(token), i, token]).filter(([, , token]) => !silent(token)));
  const [a, b] = sides, width = b.length + 1;
  if (a.length * b.length > COMPARED) return [new Set(), new Set()];
  const common = new Uint32Array((a.length + 1) * width); // of what is behind both places
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      common[i * width + j] = a[i][0] === b[j][0]
        ? common[(i + 1) * width + j + 1] + 1
        : Math.max(common[(i + 1) * width + j], common[i * width + j + 1]);
    }
  }
  const only = [new Set(), new Set()];
  let i = 0, j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i][0] === b[j][0]) [i, j] = [i + 1, j + 1];
    else if (j === b.length || (i < a.length && common[(i + 1) * width + j] >= common[i * width + j + 1])) only[0].add(a[i++][1]);
    else only[1].add(b[j++][1]);
  }
  return only;
}

// SQL with its keywords, literals and comments coloured, and the tokens at some places marked.
function code(sql, places, mark) {
  const marked = tokensOf(sql).map((token, i) => {
    const kind = /^(--|\/\*)/.test(token) ? "comment" : token[0] === "'" ? "string" : KEYWORDS.test(token) ? "keyword" : null;
    const part = kind ? make("span", { class: kind }, token) : token;
    return places?.has(i) ? make("mark", { class: mark }, part) : part;
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
  } else if (event.key === "Enter" && event.target === $("list")) {
    $("detail").focus();
  } else if (event.key in STEPS && !typing) {
    event.preventDefault();
    show(place + STEPS[event.key]);
  }
}

function onInput(event) {
  if (event.target.name === "of") choose(Number(event.target.value));
  filter();
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
  choose(compared[1]);
  document.querySelector(`[name=of][value="${chosen}"]`).checked = true;
  $("why").open = !matchMedia("(max-width: 52rem)").matches;
  const wanted = location.hash;
  filter();
  if (wanted) {
    history.replaceState(null, "", wanted);
    follow();
  }
  $("filters").addEventListener("input", onInput);
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  $("clear").addEventListener("click", clear);
  $("wrong").addEventListener("click", () => {
    why.wrong = why.wrong ? "" : "wrong";
    filter();
  });
  $("csv").addEventListener("click", saveCsv);
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault(); // the address is a question's
    $("list").focus();
  });
  $("list").addEventListener("scroll", draw, { passive: true });
  addEventListener("keydown", onKey);
  addEventListener("hashchange", follow);
  addEventListener("resize", draw);
  document.documentElement.dataset.ready = performance.now().toFixed();
  prepareSearch();
}

start();
