"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const { about, vocab, latents } = data;
const $ = (id) => document.getElementById(id);
const ROW = 46; // pixels of an entry of the list

/* ---------------------------------------------------------------- small things */

function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (key === "class") node.className = value;
    else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function svg(tag, props = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(props)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

const plural = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;
const percent = (x) => (x === 0 ? "0" : `${Number((100 * x).toPrecision(2))} %`);
const signed = (x, n = 3) => (x > 0 ? "+" : x < 0 ? "−" : "") + Math.abs(x).toFixed(n);
function num(x) {
  if (x === null || x === undefined) return "–";
  const size = Math.abs(x);
  const text = size >= 1000 ? Math.round(size).toLocaleString("en")
    : size >= 100 ? size.toFixed(0) : size >= 10 ? size.toFixed(1)
    : size >= 0.01 || size === 0 ? size.toFixed(2) : size.toPrecision(1);
  return (x < 0 ? "−" : "") + text;
}
function pValue(log10) {
  if (log10 > -3) return (10 ** log10).toPrecision(1);
  return `10${[...String(Math.round(log10))].map((c) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[c] ?? "⁻").join("")}`;
}

// what cannot be seen gets a sign; nothing is ever read as markup
const SIGNS = { "\n": "↵", "\r": "␍", "\t": "→", "\u00a0": "⍽", "\u200b": "⟨200b⟩", "\ufeff": "⟨feff⟩" };
function visible(text, leading = false) {
  const parts = [];
  let plain = "";
  [...text].forEach((c, i) => {
    let sign = SIGNS[c];
    if (sign === undefined && c < " ") sign = String.fromCharCode(0x2400 + c.charCodeAt(0));
    if (sign === undefined && /[\u202a-\u202e\u2066-\u2069\u200e\u200f]/.test(c)) sign = `⟨${c.charCodeAt(0).toString(16)}⟩`;
    if (leading && c === " " && (i === 0 || text.trim() === "")) sign = "·";
    if (sign === undefined) { plain += c; return; }
    if (plain) parts.push(plain);
    plain = "";
    parts.push(el("span", { class: "sign" }, sign));
  });
  if (plain) parts.push(plain);
  return parts;
}
const token = (i) => el("span", { class: "tok", dir: "auto" }, ...visible(vocab[i], true));

/* ---------------------------------------------------------------- state */

const best = (latent) => Math.max(...latent.examples.flatMap((e) => (e.full || e.direct || []).filter((x) => x !== null)), -Infinity);
const SORTS = {
  number: ["number", (l) => -l.index],
  density: ["density", (l) => l.density[0]],
  largest: ["largest activation", (l) => l.largest],
  kurtosis: ["kurtosis of logits", (l) => (l.logits ? l.logits.kurtosis : -Infinity)],
  effect: ["effect on loss", (l) => l.best],
  tokens: ["token enrichment", (l) => (l.enriched.length ? -l.enriched[0][3] : -Infinity)],
  partner: ["strongest correlation", (l) => (l.correlated.length ? l.correlated[0][1] : -Infinity)],
};
const place = new Map(latents.map((latent, i) => [latent.index, i]));
const view = { order: [], now: latents[0], tab: "strongest", colour: "acts", numbers: false, reverse: false };
for (const latent of latents) {
  latent.best = best(latent);
  latent.fires = new Set();
  latent.context = new Set();
  for (const e of latent.examples) {
    e.tokens.forEach((t, i) => { latent.context.add(t); if (e.acts[i] > 0) latent.fires.add(t); });
  }
  for (const [t] of latent.enriched) latent.fires.add(t);
  latent.writes = new Set(latent.logits ? latent.logits.top.map(([t]) => t) : []);
}
const lower = vocab.map((text) => text.toLowerCase());
$("about").textContent = `${about.hook_in}${about.hook_out === about.hook_in ? "" : ` → ${about.hook_out}`} · ${about.model} · `
  + `${latents.length.toLocaleString("en")} of ${about.n_latents.toLocaleString("en")} latents · `
  + `${about.n_tokens.toLocaleString("en")} tokens in ${about.n_rows.toLocaleString("en")} rows`;

function found(query, scope) {
  const wanted = query.toLowerCase();
  if (wanted.trim() === "") return latents;
  if (/^#?\d+$/.test(wanted.trim())) {
    const digits = wanted.trim().replace("#", "");
    const numbers = latents.filter((l) => String(l.index).startsWith(digits));
    numbers.sort((a, b) => (b.index === Number(digits)) - (a.index === Number(digits)));
    if (numbers.length || query.includes("#")) return numbers;
  }
  const hits = new Set();
  lower.forEach((text, i) => { if (text.includes(wanted)) hits.add(i); });
  const scopes = scope === "any" ? ["context", "writes", "fires"] : [scope];
  return latents.filter((l) => scopes.some((s) => { for (const t of l[s]) if (hits.has(t)) return true; return false; }));
}

function update() {
  const query = $("search").value;
  const value = SORTS[$("sort").value][1];
  const list = [...found(query, $("scope").value)];
  const start = query.trim().replace("#", "");
  const numbered = /^\d+$/.test(start) && list.every((l) => String(l.index).startsWith(start)); // else it was text
  if (!numbered) {
    list.sort((a, b) => value(b) - value(a) || a.index - b.index);
    if (view.reverse) list.reverse();
  }
  view.order = list;
  $("count").textContent = list.length === latents.length ? plural(list.length, "latent") : `${list.length.toLocaleString("en")} of ${plural(latents.length, "latent")}`;
  $("spacer").style.height = `${list.length * ROW}px`;
  $("list").scrollTop = 0;
  draw();
}

/* ---------------------------------------------------------------- list: only what is seen */

function draw() {
  const list = $("list");
  const first = Math.max(0, Math.floor(list.scrollTop / ROW) - 4);
  const last = Math.min(view.order.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + 4);
  const items = [];
  for (let i = first; i < last; i++) items.push(item(view.order[i], i));
  $("spacer").replaceChildren(...items);
}

function item(latent, i) {
  const now = latent === view.now;
  const words = latent.enriched.length ? latent.enriched.map(([t]) => t) : latent.logits ? latent.logits.top.map(([t]) => t) : [];
  const side = { number: "", density: percent(latent.density[0]), largest: num(latent.largest), kurtosis: latent.logits ? num(latent.logits.kurtosis) : "", effect: Number.isFinite(latent.best) ? signed(latent.best, 2) : "", tokens: latent.enriched.length ? pValue(latent.enriched[0][3]) : "", partner: latent.correlated.length ? num(latent.correlated[0][1]) : "" }[$("sort").value];
  return el("div", { class: `item${now ? " now" : ""}`, role: "option", id: `item-${latent.index}`, "aria-selected": now, style: `top:${i * ROW}px`, onclick: () => { show(latent); fold(); } },
    el("div", { class: "line" }, el("b", { class: "num" }, String(latent.index)), el("span", { class: "soft num" }, latent.n_active ? side || percent(latent.density[0]) : "dead")),
    el("div", { class: "words" }, ...words.slice(0, 5).flatMap((t) => [token(t), "  "])));
}

function reveal() {
  const i = view.order.indexOf(view.now);
  const list = $("list");
  if (i >= 0) {
    if (i * ROW < list.scrollTop) list.scrollTop = i * ROW;
    else if ((i + 1) * ROW > list.scrollTop + list.clientHeight) list.scrollTop = (i + 1) * ROW - list.clientHeight;
    list.setAttribute("aria-activedescendant", `item-${view.now.index}`);
  }
  draw();
}

function step(by) {
  if (!view.order.length) return;
  const i = view.order.indexOf(view.now);
  const next = i < 0 ? (by > 0 ? 0 : view.order.length - 1) : Math.min(view.order.length - 1, Math.max(0, i + by));
  show(view.order[next]);
}

function fold() {
  $("side").classList.remove("open");
  $("list-toggle").setAttribute("aria-expanded", "false");
}

/* ---------------------------------------------------------------- one latent */

// a control that is drawn anew keeps the keyboard
function keepFocus(change) {
  const { id } = document.activeElement;
  change();
  if (id && document.activeElement.id !== id) $(id)?.focus({ preventScroll: true });
}

function show(latent) {
  view.now = latent;
  hide();
  history.replaceState(null, "", `#${latent.index}`);
  const parts = [head(latent), tiles(latent)];
  if (latent.n_active === 0) parts.push(dead(latent));
  parts.push(el("div", { class: "body" }, latent.n_active ? examples(latent) : null, panels(latent)), foot());
  keepFocus(() => $("main").replaceChildren(...parts));
  reveal();
}

function head(latent) {
  return el("div", { class: "head" },
    el("span", { class: "name num", role: "heading", "aria-level": "2" }, `Latent ${latent.index}`),
    el("button", { type: "button", id: "previous", onclick: () => step(-1), title: "previous latent (←)" }, "← previous"),
    el("button", { type: "button", id: "next", onclick: () => step(1), title: "next latent (→)" }, "next →"));
}

function tile(what, big, more, title) {
  return el("div", { class: "card tile", title }, el("div", { class: "what" }, what), el("div", { class: "big num" }, big), el("div", { class: "more num" }, more));
}

function tiles(latent) {
  const [p, low, high] = latent.density;
  const list = [
    tile("density", percent(p), `${percent(low)} to ${percent(high)}`, "share of tokens on which it is active; Wilson's 95 % interval, which takes tokens as independent"),
    tile("active on", plural(latent.n_active, "token"), `in ${plural(latent.n_rows, "row")}`),
    tile("activation", num(latent.largest), latent.n_active ? `largest; mean ${num(latent.mean)} ± ${num(latent.std)}` : "never active", "mean and standard deviation where it is active"),
  ];
  const effects = latent.examples.filter((e) => (e.full || e.direct));
  if (effects.length) {
    const sum = (e, key) => (e[key] || []).reduce((a, x) => a + (x || 0), 0);
    const mean = (key) => effects.reduce((a, e) => a + sum(e, key), 0) / effects.length;
    list.push(tile("loss without it", `${signed(mean("full"), 2)} nats`, effects[0].direct ? `direct path ${signed(mean("direct"), 2)}` : "no direct path",
      `sum over the tokens shown, mean over the ${effects.length} strongest examples; positive: it helps the model there`));
  }
  if (latent.logits) list.push(tile("logit weights", num(latent.logits.kurtosis), `kurtosis; skew ${num(latent.logits.skew)}`, "excess kurtosis: large where a few tokens stand out, 0 for a normal distribution"));
  return el("div", { class: "tiles" }, ...list);
}

function dead(latent) {
  return el("div", { class: "card dead" }, el("b", {}, "Never active on this text. "),
    `It is active on at most ${percent(latent.density[2])} of tokens like these (95 %): dead, or about something that does not occur here.`);
}

function card(title, ...children) {
  return el("section", { class: "card" }, el("h2", {}, title), ...children);
}

function panels(latent) {
  const list = [];
  if (latent.n_active) list.push(card("Where it is active, how strongly", histogram(latent.histogram.counts, 0, latent.histogram.counts.length * latent.histogram.width, cuts(latent)),
    el("p", { class: "soft" }, "tokens by activation; dotted: intervals")));
  if (latent.enriched.length) list.push(reads(latent.enriched));
  if (latent.logits) list.push(writes(latent.logits));
  if (latent.heads) list.push(headCard(latent));
  if (latent.correlated.length || latent.cosine.length) list.push(alike(latent));
  return el("div", { class: "grid" }, ...list);
}

const cuts = (latent) => latent.groups.filter((g) => g.kind === "interval" && g.low > 0).map((g) => g.low);

function histogram(counts, low, high, lines = []) {
  const [W, H, B] = [300, 96, 16];
  const most = Math.max(...counts, 1);
  const x = (v) => ((v - low) / (high - low || 1)) * W;
  const w = W / counts.length;
  const bars = counts.map((n, i) => svg("rect", { x: (i * w + 0.4).toFixed(1), width: Math.max(w - 0.8, 0.6).toFixed(1), y: (H - (n ? Math.max(1, (n / most) * (H - 12)) : 0)).toFixed(1), height: (n ? Math.max(1, (n / most) * (H - 12)) : 0).toFixed(1) }));
  const label = (v, anchor, at) => { const t = svg("text", { x: at, y: H + B - 3, "text-anchor": anchor }); t.textContent = num(v); return t; };
  const top = svg("text", { x: W, y: 9, "text-anchor": "end" });
  top.textContent = `most in a bar: ${most.toLocaleString("en")}`;
  return svg("svg", { viewBox: `0 0 ${W} ${H + B}`, role: "img", "aria-label": `histogram from ${num(low)} to ${num(high)}` },
    svg("g", { class: "bars" }, ...bars), svg("line", { class: "axis", x1: 0, x2: W, y1: H, y2: H }),
    svg("g", { class: "cuts" }, ...lines.map((v) => svg("line", { x1: x(v), x2: x(v), y1: 14, y2: H }))),
    label(low, "start", 0), label(high, "end", W), top, ...(low < 0 && high > 0 ? [label(0, "middle", x(0))] : []));
}

function table(heads, rows) {
  const cell = (tag) => (value, i) => el(tag, { class: i && !(value instanceof Element && value.dataset.left) ? "r" : "" }, value);
  return el("table", {}, ...(heads ? [el("tr", {}, ...heads.map(cell("th")))] : []), ...rows.map((row) => el("tr", {}, ...row.map(cell("td")))));
}

function meter(value, most, kind) {
  return el("span", { class: `meter ${kind}`, style: `width:${Math.max(2, 30 * Math.abs(value) / (most || 1))}px` });
}

function writes(logits) {
  const most = Math.max(...[...logits.top, ...logits.bottom].map(([, v]) => Math.abs(v)));
  const side = (list, kind) => table(null, list.map(([t, v]) => [token(t), meter(v, most, kind), signed(v, 2)]));
  return card("What it writes: logit weights",
    el("div", { class: "pairs" }, side(logits.top, "up"), side(logits.bottom, "down")),
    histogram(logits.counts, logits.low, logits.high), el("p", { class: "soft" }, "direct path, centred, before the final norm's scale"));
}

function reads(enriched) {
  return card("Tokens it fires on, beyond chance",
    table(["token", "active / seen", "p"], enriched.map(([t, k, n, p]) => [token(t), `${k.toLocaleString("en")} / ${n.toLocaleString("en")}`, pValue(p)])),
    el("p", { class: "soft" }, `hypergeometric, times ${about.n_vocab_seen.toLocaleString("en")} tokens`));
}

function headCard(latent) {
  const most = Math.max(...latent.heads);
  return card("Heads it is written by", table(["head", "", "share"], latent.heads.map((v, i) => [String(i), meter(v, most, ""), percent(v)])));
}

function alike(latent) {
  const link = (i) => (place.has(i) ? el("button", { type: "button", class: "link num", onclick: () => { show(latents[place.get(i)]); window.scrollTo(0, 0); } }, String(i)) : el("span", { class: "num" }, String(i)));
  const side = (title, list) => el("div", {}, el("p", { class: "soft" }, title), table(null, list.map(([i, v]) => [link(i), num(v)])));
  return card("Latents like it", el("div", { class: "pairs" },
    side("active together (r)", latent.correlated), side("same direction (cosine)", latent.cosine)));
}

/* ---------------------------------------------------------------- examples */

const TABS = { strongest: "strongest", interval: "by interval", quantile: "by quantile" };
const COLOURS = { acts: "activation", full: "loss without it, in full", direct: "loss without it, direct", sources: "where it reads from" };

function examples(latent) {
  const box = el("section", { class: "card", id: "examples" });
  fill(box, latent);
  return box;
}

function fill(box, latent) {
  const offered = Object.keys(COLOURS).filter((key) => latent.examples.some((e) => e[key]));
  const colour = offered.includes(view.colour) ? view.colour : "acts";
  const most = extent(latent, colour);
  const again = () => fill(box, latent);
  const tabs = Object.entries(TABS).map(([key, name]) => el("button", { type: "button", id: `tab-${key}`, "aria-pressed": view.tab === key, onclick: () => { view.tab = key; again(); } }, name));
  const select = el("select", { id: "colour", "aria-label": "colour by", onchange: (event) => { view.colour = event.target.value; again(); } },
    ...offered.map((key) => el("option", { value: key, ...(key === colour ? { selected: "" } : {}) }, COLOURS[key])));
  const numbers = el("label", { class: "soft" }, el("input", { type: "checkbox", id: "numbers", ...(view.numbers ? { checked: "" } : {}), onchange: (event) => { view.numbers = event.target.checked; again(); } }), " numbers");
  const groups = latent.groups.filter((group) => group.kind === view.tab).map((group) => section(latent, group, colour, most));
  keepFocus(() => box.replaceChildren(el("div", { class: "tabs" }, el("h2", { style: "margin:0 6px 0 0" }, "Examples"), ...tabs, el("span", { class: "gap" }), offered.length > 1 ? el("label", { class: "soft" }, "colour: ", select) : null, numbers),
    legend(colour, most, latent), ...groups));
}

function extent(latent, colour) {
  if (colour === "acts") return latent.largest;
  return Math.max(...latent.examples.flatMap((e) => (e[colour] || []).map((x) => Math.abs(x || 0))), 1e-9);
}

function paint(value, most, colour) {
  const share = Math.min(1, Math.abs(value) / most);
  const rgb = colour === "acts" || colour === "sources" ? (value < 0 ? "var(--down)" : "var(--act)") : value < 0 ? "var(--down)" : "var(--up)";
  return `background:rgba(${rgb},calc(${share.toFixed(3)} * var(--strong)))`;
}
const thick = (value, most) => (value ? Math.max(1, Math.ceil((4 * Math.abs(value)) / most - 1e-6)) : 0);
const seen = (value, most) => value && Math.abs(value) > most / 200;

function legend(colour, most, latent) {
  const both = colour !== "acts";
  const steps = both ? [-1, -0.5, 0, 0.5, 1] : [0, 0.25, 0.5, 0.75, 1];
  const ramp = steps.map((s) => el("span", { class: `t u${s ? thick(s, 1) : 0}${s < 0 ? " minus" : ""}`, style: paint(s * most, most, colour) }, both ? signed(s * most, most < 0.1 ? 3 : 2) : num(s * most)));
  const says = { acts: "thicker underline: stronger; bold: the token the example is for", full: "nats of the next token's loss when the latent is set to 0 on the tokens shown, model run again; blue: the latent helps; dotted: it hurts",
    direct: "nats of the next token's loss by the direct path, norm's scale frozen; blue: the latent helps; dotted: it hurts", sources: "what each token adds to the pre-activation at the bold one" }[colour];
  const n = latent.examples.filter((e) => e[colour]).length;
  const where = colour === "acts" ? "" : `; measured at ${plural(n, "place")}, the strongest`;
  return el("div", { class: "legend" }, el("span", { class: "ramp num" }, ...ramp), el("span", {}, says + where));
}

function section(latent, group, colour, most) {
  const { low, high, n, kind } = group;
  const share = latent.n_active ? n / latent.n_active : 0;
  const line = el("div", { class: "group" }, el("b", { class: "num" }, kind === "strongest" ? `${num(low)} to ${num(high)}` : `${num(low)} ≤ activation < ${num(high)}`),
    kind === "strongest" ? `, ${plural(group.examples.length, "place")}, no two from one` : ` · ${plural(n, "token")}, ${percent(share)} of those it is active on${group.examples.length ? "; drawn at random" : "; no place left that is not shown above"}`);
  return el("div", {}, line, ...group.examples.map((i) => example(latent, latent.examples[i], colour, most)));
}

function example(latent, e, colour, most) {
  const at = e.pos - e.start;
  const values = e[colour] || [];
  const spans = e.tokens.map((t, i) => {
    const value = values[i] ?? null;
    const on = seen(value, most);
    const told = e.acts[i] > 0 || [e.full, e.direct, e.sources].some((list) => list && Math.abs(list[i] || 0) > 0.001);
    const props = { class: `t${on ? ` u${thick(value, most)}` : ""}${on && value < 0 && colour !== "acts" ? " minus" : ""}${i === at ? " at" : ""}`, dir: "auto", style: on ? paint(value, most, colour) : null };
    if (told || i === at) {
      props.tabindex = "0";
      const tell = (event) => tip(event.currentTarget, latent, e, i);
      Object.assign(props, { onmouseenter: tell, onfocus: tell, onmouseleave: hide, onblur: hide });
      props["aria-label"] = `${vocab[t].trim() || "space"}, activation ${num(e.acts[i])}`;
    }
    const span = el("span", props, ...visible(vocab[t]));
    if (view.numbers && on) span.append(el("sub", { class: "num" }, colour === "acts" ? num(value) : signed(value, 2)));
    return vocab[t] === "\n" ? [span, "\u200b"] : [span];
  });
  const sum = (list) => list.reduce((a, x) => a + (x || 0), 0);
  const effect = e.full ? `loss ${signed(sum(e.full), 2)}` : null;
  return el("div", { class: "example" },
    el("div", { class: "peak num" }, num(e.acts[at]), el("small", { title: "sum over the tokens shown when the latent is removed" }, effect ?? "")),
    el("div", { class: "text" }, ...spans.flat()));
}

/* ---------------------------------------------------------------- what a token tells */

function tip(target, latent, e, i) {
  const rows = [["activation", num(e.acts[i])]];
  const add = (name, list) => { if (list && list[i] !== null && list[i] !== undefined) rows.push([name, `${signed(list[i])} nats`]); };
  add("next token's loss without it", e.full);
  add("by the direct path alone", e.direct);
  if (e.sources && e.sources[i] !== null) rows.push(["adds to the bold token's", signed(e.sources[i], 2)]);
  const next = e.tokens[i + 1];
  const box = $("tip");
  box.replaceChildren(el("div", {}, token(e.tokens[i]), next === undefined ? "" : el("span", {}, "  then ", token(next))),
    table(null, rows), el("div", { style: "opacity:.75" }, `token ${data.ids[e.tokens[i]]}, row ${e.row}, position ${e.start + i}`));
  box.hidden = false;
  const where = target.getBoundingClientRect();
  const size = box.getBoundingClientRect();
  const above = where.top - size.height - 8;
  box.style.left = `${Math.max(8, Math.min(where.left, window.innerWidth - size.width - 8))}px`;
  box.style.top = `${above > 8 ? above : where.bottom + 8}px`;
}

function hide() { $("tip").hidden = true; }

function foot() {
  return el("p", { class: "foot" }, el("kbd", {}, "←"), " ", el("kbd", {}, "→"), " latents · ", el("kbd", {}, "/"), " search · ", el("kbd", {}, "1"), " ", el("kbd", {}, "2"), " ", el("kbd", {}, "3"),
    " strongest, intervals, quantiles · ", el("kbd", {}, "n"), " numbers · ", el("kbd", {}, "t"), " light or dark. ",
    "Padding, the first token of a row and BOS do not count. Correlations are with ", about.partners === "all" ? "all latents of the SAE" : "the latents shown here", ".");
}

/* ---------------------------------------------------------------- wiring */

function theme(name) {
  document.documentElement.dataset.theme = name;
}
const prefers = window.matchMedia("(prefers-color-scheme: dark)");
theme(prefers.matches ? "dark" : "light");
prefers.addEventListener("change", () => theme(prefers.matches ? "dark" : "light"));
const turn = () => theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
$("theme").addEventListener("click", turn);
$("list-toggle").addEventListener("click", () => {
  const open = $("side").classList.toggle("open");
  $("list-toggle").setAttribute("aria-expanded", String(open));
  if (open) reveal();
});
for (const [key, [name]] of Object.entries(SORTS)) $("sort").append(el("option", { value: key }, name));
$("search").addEventListener("input", update);
$("scope").addEventListener("change", update);
$("sort").addEventListener("change", update);
$("reverse").addEventListener("click", () => { view.reverse = !view.reverse; $("reverse").textContent = view.reverse ? "↑" : "↓"; update(); });
$("list").addEventListener("scroll", draw);
window.addEventListener("resize", draw);
window.addEventListener("scroll", hide, { passive: true });
window.addEventListener("hashchange", fromHash);

function fromHash() {
  const i = place.get(Number(location.hash.slice(1)));
  if (location.hash && i !== undefined && latents[i] !== view.now) show(latents[i]);
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.matches("input[type=search], select");
  if (event.key === "Escape") { hide(); if (typing) event.target.blur(); return; }
  if (typing) {
    if (event.key === "Enter" && event.target.id === "search" && view.order.length) { show(view.order[0]); event.target.blur(); fold(); }
    return;
  }
  const tabs = Object.keys(TABS);
  const actions = { ArrowRight: () => step(1), ArrowLeft: () => step(-1), j: () => step(1), k: () => step(-1), t: turn,
    "/": () => { $("side").classList.add("open"); $("search").focus(); $("search").select(); },
    n: () => { view.numbers = !view.numbers; refill(); } };
  if (event.target.closest("#list")) Object.assign(actions, { ArrowDown: () => step(1), ArrowUp: () => step(-1) });
  tabs.forEach((key, i) => { actions[String(i + 1)] = () => { view.tab = key; refill(); }; });
  if (actions[event.key]) { event.preventDefault(); actions[event.key](); }
});

function refill() {
  const box = $("examples");
  if (box) fill(box, view.now);
}

const start = place.get(Number(location.hash.slice(1)));
if (location.hash && start !== undefined) view.now = latents[start];
update();
show(view.now);
