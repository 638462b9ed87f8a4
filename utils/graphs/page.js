"use strict";
const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const LISTED = 12; // inputs and outputs in the list beside the graph
const FAINT = 300; // edges drawn where all are asked for
const KINDS = {
  "cross layer transcoder": "feature", "mlp reconstruction error": "error",
  embedding: "embedding", logit: "logit",
};

/* ---------------------------------------------------------------- small things */

function el(tag, props = {}, ...children) {
  const node = tag.startsWith("svg:") ? document.createElementNS(SVG, tag.slice(4)) : document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}
const signed = (x) => (x < 0 ? "−" : "+") + Math.abs(x).toPrecision(3);
const SIGNS = { "\n": "↵", "\r": "␍", "\t": "→" };
// what cannot be seen gets a sign; nothing is ever read as markup
function visible(text) {
  return [...text].map((c) => {
    if (SIGNS[c]) return SIGNS[c];
    if (c < " ") return String.fromCharCode(0x2400 + c.charCodeAt(0));
    return /[\u202a-\u202e\u2066-\u2069\u200e\u200f]/.test(c) ? `⟨${c.charCodeAt(0).toString(16)}⟩` : c;
  }).join("");
}
const short = (text, n) => (text.length > n ? `${text.slice(0, n - 1)}…` : text);
const say = (text) => { $("message").textContent = text; };

/* ---------------------------------------------------------------- the graph */

let told, nodes, byId, words, layers, pinned, groups, spots, now = null;

function read(graph) {
  for (const part of ["metadata", "qParams", "nodes", "links"]) {
    if (graph === null || typeof graph !== "object" || !graph[part]) throw new Error(`this is no graph: it has no ${part}`);
  }
  const tokens = graph.metadata.prompt_tokens;
  if (!Array.isArray(tokens)) throw new Error("this is no graph: it has no prompt_tokens");
  const lost = graph.nodes.find((n) => !(Number.isInteger(n.ctx_idx) && n.ctx_idx >= 0 && n.ctx_idx < tokens.length));
  if (lost) throw new Error(`the node ${lost.node_id} stands at no token: ${lost.ctx_idx}`);
  const outputs = graph.nodes.filter((n) => n.feature_type === "logit").map((n) => Number(n.layer));
  if (!outputs.length) throw new Error("this graph explains nothing: it has no output");
  const top = Math.max(...outputs);
  const found = graph.nodes.map((n) => {
    const kind = KINDS[n.feature_type];
    if (kind === undefined) throw new Error(`a node of an unknown kind: ${n.feature_type}`);
    const layer = kind === "embedding" ? -1 : kind === "logit" ? top - 1 : Number(n.layer);
    return { told: n, id: n.node_id, kind, layer, pos: n.ctx_idx, ins: [], outs: [], size: 0 };
  });
  const index = new Map(found.map((n) => [n.id, n]));
  for (const link of graph.links) {
    const [source, target] = [index.get(link.source), index.get(link.target)];
    if (!source || !target) throw new Error("an edge goes to a node that is not there");
    const edge = { source, target, weight: link.weight };
    target.ins.push(edge);
    source.outs.push(edge);
    target.size += Math.abs(link.weight);
  }
  const size = (e) => Math.abs(e.weight);
  for (const n of found) {
    n.ins.sort((a, b) => size(b) - size(a));
    n.outs.sort((a, b) => size(b) / b.target.size - size(a) / a.target.size);
  }
  told = graph; nodes = found; byId = index;
  words = tokens.map(visible);
  layers = top - 1;
  const q = graph.qParams;
  groups = (q.supernodes || []).map(([name, ...ids]) => ({ name, ids: ids.filter((id) => index.has(id)) })).filter((g) => g.ids.length);
  pinned = new Set((q.pinnedIds || []).filter((id) => index.has(id)));
  for (const g of groups) g.ids.forEach((id) => pinned.add(id));
  spots = new Map(Array.isArray(q.course_spots) ? q.course_spots : []);
  now = index.get(q.clickedId) || null;
}

function name(n) {
  const t = n.told;
  if (n.kind === "error") return `error, layer ${n.layer}, “${words[n.pos].trim()}”`;
  if (n.kind === "embedding") return `token “${words[n.pos]}”`;
  if (n.kind === "logit") return visible(t.clerp || t.node_id);
  const number = t.node_id.split("_")[1];
  return t.clerp ? `${visible(t.clerp)} (${n.layer}/${number})` : `latent ${n.layer}/${number}`;
}
const full = (n) => (n.kind === "feature" ? `${name(n)} at “${words[n.pos].trim()}”` : name(n));

function shown(n) {
  if (n.kind === "embedding" || n.kind === "logit" || pinned.has(n.id) || n === now) return true;
  if (n.kind === "error" && !$("errors").checked) return false;
  const share = n.told.influence;
  return share === null || share === undefined || share <= Number($("share").value) / 100 + 1e-9;
}

/* ---------------------------------------------------------------- drawing */

const STEP = 13, ROW = 24, LEFT = 46, BOTTOM = 74;
let place = new Map();

function layout() {
  const cells = new Map();
  for (const n of nodes.filter(shown)) {
    const key = `${n.pos}/${n.layer}`;
    if (!cells.has(key)) cells.set(key, []);
    cells.get(key).push(n);
  }
  const wide = words.map(() => 3);
  for (const cell of cells.values()) wide[cell[0].pos] = Math.max(wide[cell[0].pos], cell.length);
  const left = [LEFT];
  wide.forEach((n, i) => left.push(left[i] + Math.max(58, n * STEP + 14)));
  const y = (layer) => 18 + (layers - layer) * ROW;
  place = new Map();
  for (const cell of cells.values()) {
    cell.sort((a, b) => (a.told.influence ?? 0) - (b.told.influence ?? 0));
    const { pos, layer } = cell[0];
    const x = (left[pos] + left[pos + 1]) / 2 - ((cell.length - 1) * STEP) / 2;
    cell.forEach((n, i) => place.set(n, [x + i * STEP, y(layer)]));
  }
  return { left, y, width: left[words.length] + 10, height: y(-1) + BOTTOM };
}

function shape(n, x, y) {
  const state = [n.kind, pinned.has(n.id) ? "pinned" : "", n === now ? "now" : ""].join(" ");
  const props = { class: `node ${state}`, onclick: () => choose(n), ondblclick: () => pin(n), "data-id": n.id };
  const label = el("svg:title", {}, `${full(n)}${n.kind === "feature" ? `, activation ${n.told.activation?.toFixed(2)}` : ""}`);
  if (n.kind === "feature") return el("svg:circle", { ...props, cx: x, cy: y, r: 5 }, label);
  if (n.kind === "error") return el("svg:path", { ...props, d: `M${x - 5} ${y}L${x} ${y - 5}L${x + 5} ${y}L${x} ${y + 5}Z` }, label);
  return el("svg:rect", { ...props, x: x - 5, y: y - 5, width: 10, height: 10, rx: n.kind === "logit" ? 3 : 0 }, label);
}

function curve(edge, strong) {
  const [a, b] = [place.get(edge.source), place.get(edge.target)];
  if (!a || !b) return null;
  const share = Math.abs(edge.weight) / edge.target.size;
  const middle = (a[1] + b[1]) / 2;
  return el("svg:path", {
    class: `edge ${edge.weight > 0 ? "up" : "down"}`, "stroke-width": 0.6 + 5 * share,
    "stroke-opacity": strong ? Math.min(1, 0.35 + share) : 0.25,
    d: `M${a[0]} ${a[1]}C${a[0]} ${middle} ${b[0]} ${middle} ${b[0]} ${b[1]}`,
  });
}

// A graph of many layers is taller than its frame: the words stay in sight at the frame's lower end.
function keepWords() {
  const frame = $("scroll"), up = frame.scrollTop + frame.clientHeight - $("graph").getAttribute("height");
  $("words")?.setAttribute("transform", `translate(0 ${Math.min(0, up)})`);
}

function draw() {
  const { left, y, width, height } = layout();
  const svg = $("graph");
  svg.replaceChildren();
  svg.setAttribute("width", width);
  svg.setAttribute("height", height);
  const strip = el("svg:g", { id: "words" }, el("svg:rect", { x: 0, y: y(-1) + 8, width, height: height - y(-1) - 8 }));
  words.forEach((word, i) => {
    const stripe = (top) => el("svg:rect", { class: "stripe", x: left[i], y: top, width: left[i + 1] - left[i], height: height - top });
    if (i % 2 === 0) { svg.append(stripe(0)); strip.append(stripe(y(-1) + 8)); }
    const x = (left[i] + left[i + 1]) / 2;
    const text = el("svg:text", { x, y: y(-1) + 18, transform: `rotate(35 ${x} ${y(-1) + 18})` }, short(word, 12));
    text.append(el("svg:title", {}, `${word} (position ${i})`));
    strip.append(text);
  });
  for (let layer = 0; layer < layers; layer += layers > 12 ? 3 : 1) svg.append(el("svg:text", { class: "soft", x: 8, y: y(layer) + 4 }, `L${layer}`));
  svg.append(el("svg:text", { class: "soft", x: 8, y: y(layers) + 4 }, "out"), el("svg:text", { class: "soft", x: 8, y: y(-1) + 4 }, "token"));
  const edges = el("svg:g", { id: "edges" });
  if ($("all").checked) {
    const every = nodes.flatMap((n) => n.ins).filter((e) => place.has(e.source) && place.has(e.target));
    every.sort((a, b) => Math.abs(b.weight) / b.target.size - Math.abs(a.weight) / a.target.size);
    edges.append(...every.slice(0, FAINT).map((e) => curve(e, false)));
  }
  if (now) edges.append(...[...now.ins, ...now.outs].map((e) => curve(e, true)).filter(Boolean));
  svg.append(edges);
  const near = now && new Set([now, ...now.ins.map((e) => e.source), ...now.outs.map((e) => e.target)]);
  for (const [n, [x, at]] of place) {
    const mark = shape(n, x, at);
    if (near) mark.classList.add(near.has(n) ? "near" : "far");
    svg.append(mark);
  }
  svg.append(strip);
  keepWords();
  const count = [...place.keys()].filter((n) => n.kind === "feature").length;
  const all = nodes.filter((n) => n.kind === "feature").length;
  $("about").textContent = `${told.metadata.scan} · ${words.length} tokens · ${count} of ${all} latents · ${told.links.length.toLocaleString("en")} edges`;
  $("share-now").textContent = `${$("share").value} %`;
}

function entry(n, weight) {
  return el("button", { type: "button", class: `row ${weight > 0 ? "up" : "down"}`, onclick: () => choose(n) },
    el("span", {}, full(n)), el("span", { class: "n" }, signed(weight)));
}

function side() {
  const box = $("side");
  box.replaceChildren();
  if (!now) {
    box.append(el("p", { class: "soft" }, "Choose a node: its inputs and outputs are drawn, and listed here with their weights."));
    return;
  }
  const t = now.told;
  box.append(el("p", { class: "name" }, name(now)));
  if (now.kind === "feature") {
    box.append(el("p", { class: "soft" }, `layer ${now.layer}, at “${words[now.pos]}” (position ${now.pos}), activation ${(t.activation ?? 0).toFixed(3)}`));
    const field = el("input", { type: "text", value: t.clerp || "", placeholder: "a name of your own", "aria-label": "a name for this latent" });
    field.addEventListener("change", () => { t.clerp = field.value; draw(); side(); drawGroups(); });
    box.append(field);
  }
  box.append(el("button", { type: "button", id: "pin", onclick: () => pin(now) }, pinned.has(now.id) ? "Unpin" : "Pin"));
  for (const [title, edges, end] of [["What it is made of", now.ins, "source"], ["What it goes into", now.outs, "target"]]) {
    if (!edges.length) continue;
    box.append(el("h2", {}, title));
    box.append(...edges.slice(0, LISTED).map((e) => entry(e[end], e.weight)));
    if (edges.length > LISTED) {
      const rest = edges.slice(LISTED).reduce((sum, e) => sum + e.weight, 0);
      box.append(el("p", { class: "soft" }, `and ${edges.length - LISTED} more, together ${signed(rest)}`));
    }
  }
}

function choose(n) {
  now = n;
  draw(); side();
  const at = n && place.get(n);
  const view = $("scroll");
  if (at && (at[0] < view.scrollLeft || at[0] > view.scrollLeft + view.clientWidth)) view.scrollLeft = at[0] - view.clientWidth / 2;
  if (at && (at[1] < view.scrollTop || at[1] > view.scrollTop + view.clientHeight - BOTTOM)) view.scrollTop = at[1] - view.clientHeight / 2;
}

/* ---------------------------------------------------------------- pins and groups */

function pin(n) {
  if (!n) return;
  if (pinned.has(n.id)) {
    pinned.delete(n.id);
    for (const g of groups) g.ids = g.ids.filter((id) => id !== n.id);
    groups = groups.filter((g) => g.ids.length);
  } else pinned.add(n.id);
  draw(); side(); drawGroups();
}

function boxes() {
  const grouped = new Set(groups.flatMap((g) => g.ids));
  const single = [...pinned].filter((id) => !grouped.has(id)).map((id) => ({ key: id, label: full(byId.get(id)), ids: [id] }));
  return [...groups.map((g) => ({ key: `group ${g.name}`, label: g.name, ids: g.ids, group: g })), ...single];
}

function group(ids, label) {
  const rest = groups.map((g) => ({ name: g.name, ids: g.ids.filter((id) => !ids.includes(id)) })).filter((g) => g.ids.length);
  let unique = label, i = 2;
  while (rest.some((g) => g.name === unique)) unique = `${label} ${i++}`;
  groups = [...rest, { name: unique, ids }];
  draw(); drawGroups();
}

const mean = (ids, value) => ids.reduce((sum, id) => sum + value(byId.get(id)), 0) / ids.length;
function between(from, to) {
  const into = new Set(to.ids);
  let sum = 0;
  for (const id of from.ids) for (const e of byId.get(id).outs) if (into.has(e.target.id)) sum += e.weight;
  return sum;
}

function drawGroups() {
  const all = boxes(), svg = $("groups");
  const width = Math.max(300, svg.parentElement.clientWidth - 26);
  const high = all.length ? 300 : 0;
  svg.replaceChildren();
  svg.setAttribute("height", high);
  svg.setAttribute("viewBox", `0 0 ${width} ${Math.max(1, high)}`);
  $("group-help").hidden = all.length > 1;
  const [w, h] = [Math.min(150, width / 3), 24];
  for (const box of all) {
    if (!spots.has(box.key)) {
      const x = mean(box.ids, (n) => n.pos) / Math.max(1, words.length - 1);
      const up = (mean(box.ids, (n) => n.layer) + 1) / (layers + 1);
      spots.set(box.key, [x, 1 - up]);
    }
    const [x, y] = spots.get(box.key);
    box.x = x * (width - w - 4) + 2;
    box.y = y * (high - h - 8) + 4;
  }
  const total = Math.max(1e-9, ...all.flatMap((a) => all.map((b) => (a === b ? 0 : Math.abs(between(a, b))))));
  for (const a of all) for (const b of all) {
    const weight = a === b ? 0 : between(a, b);
    if (weight === 0) continue;
    const line = el("svg:path", { class: `edge ${weight > 0 ? "up" : "down"}`, "stroke-width": 0.8 + (5 * Math.abs(weight)) / total, "stroke-opacity": 0.75,
      d: `M${a.x + w / 2} ${a.y + h / 2}L${b.x + w / 2} ${b.y + h / 2}` });
    svg.append(line, el("svg:text", { class: "soft", x: (a.x + b.x + w) / 2 + 4, y: (a.y + b.y + h) / 2 }, signed(weight)));
  }
  for (const box of all) svg.append(chip(box, all, w, h, width, high));
  $("group-list").replaceChildren(...groups.map(listed));
}

function chip(box, all, w, h, width, high) {
  const mark = el("svg:g", { class: `box ${box.group ? "group" : ""}`, transform: `translate(${box.x} ${box.y})`, "data-key": box.key },
    el("svg:title", {}, box.ids.map((id) => full(byId.get(id))).join("\n")),
    el("svg:rect", { width: w, height: h }),
    el("svg:text", { x: 8, y: 16 }, short(box.label, Math.floor(w / 6.4)) + (box.group ? ` (${box.ids.length})` : "")));
  let start = null, over = null;
  mark.addEventListener("pointerdown", (e) => { start = [e.clientX, e.clientY, false]; mark.setPointerCapture(e.pointerId); });
  mark.addEventListener("pointermove", (e) => {
    if (!start) return;
    const scale = width / $("groups").getBoundingClientRect().width;
    const x = box.x + (e.clientX - start[0]) * scale, y = box.y + (e.clientY - start[1]) * scale;
    start[2] = start[2] || Math.hypot(x - box.x, y - box.y) > 4;
    mark.setAttribute("transform", `translate(${x} ${y})`);
    over = all.find((o) => o !== box && Math.abs(o.x - x) < w / 2 && Math.abs(o.y - y) < h) || null;
    document.querySelectorAll(".box").forEach((m) => m.classList.toggle("over", over !== null && m.dataset.key === over.key));
    mark.last = [x, y];
  });
  mark.addEventListener("pointerup", () => {
    if (start && start[2] && over) group([...over.ids, ...box.ids], over.group ? over.label : box.group ? box.label : "group");
    else if (start && start[2]) {
      spots.set(box.key, [(mark.last[0] - 2) / (width - w - 4), (mark.last[1] - 4) / (high - h - 8)].map((v) => Math.min(1, Math.max(0, v))));
      drawGroups();
    } else if (start && box.ids.length === 1) choose(byId.get(box.ids[0]));
    start = null;
  });
  mark.addEventListener("dblclick", () => { if (box.group) { groups = groups.filter((g) => g !== box.group); draw(); drawGroups(); } });
  return mark;
}

function listed(g) {
  const field = el("input", { type: "text", value: g.name, "aria-label": "name of this group" });
  field.addEventListener("change", () => {
    const label = field.value.trim();
    if (label && !groups.some((other) => other !== g && other.name === label)) {
      spots.set(`group ${label}`, spots.get(`group ${g.name}`));
      g.name = label;
    } else say("another group has this name, or it is empty");
    drawGroups();
  });
  const open = el("button", { type: "button", onclick: () => { groups = groups.filter((other) => other !== g); draw(); drawGroups(); } }, "Ungroup");
  return el("li", {}, field, open, el("span", { class: "soft" }, g.ids.map((id) => name(byId.get(id))).join(", ")));
}

/* ---------------------------------------------------------------- files and keys */

function state() {
  told.qParams = {
    ...told.qParams, pinnedIds: [...pinned], clickedId: now ? now.id : "",
    supernodes: groups.map((g) => [g.name, ...g.ids]), course_spots: [...spots],
  };
  return told;
}

// a file that cannot be shown leaves what was open as it was
function show(graph) {
  const before = [told, nodes, byId, words, layers, pinned, groups, spots, now];
  try {
    read(graph);
    draw(); side(); drawGroups();
  } catch (error) {
    [told, nodes, byId, words, layers, pinned, groups, spots, now] = before;
    if (told) { draw(); side(); drawGroups(); }
    throw error;
  }
}

$("save").addEventListener("click", () => {
  const url = URL.createObjectURL(new Blob([JSON.stringify(state())], { type: "application/json" }));
  el("a", { href: url, download: `${told.metadata.slug}.json` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
  say("saved with your pins and groups");
});
$("load").addEventListener("change", async (e) => {
  const [file] = e.target.files;
  e.target.value = "";
  if (!file) return;
  try {
    show(JSON.parse(await file.text()));
    document.querySelector("h1").textContent = document.title = told.metadata.prompt;
    say(`${file.name} loaded`);
  }
  catch (error) { say(`${file.name} was not loaded: ${error.message}`); }
});
const dark = window.matchMedia && window.matchMedia("(prefers-color-scheme: dark)").matches;
const root = document.documentElement;
root.dataset.theme = dark ? "dark" : "light";
const theme = () => { root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark"; };
const help = () => { $("keys").hidden = !$("keys").hidden; $("help").setAttribute("aria-expanded", String(!$("keys").hidden)); };
$("theme").addEventListener("click", theme);
$("help").addEventListener("click", help);
for (const id of ["share", "errors", "all"]) $(id).addEventListener("input", () => draw());
window.addEventListener("resize", () => { drawGroups(); keepWords(); });
$("scroll").addEventListener("scroll", keepWords);
$("search").addEventListener("keydown", (e) => {
  if (e.key === "Escape") { $("search").value = ""; $("scroll").focus(); }
  if (e.key !== "Enter") return;
  const asked = $("search").value.trim().toLowerCase();
  const found = asked ? nodes.filter((n) => full(n).toLowerCase().includes(asked) || n.id === asked) : [];
  if (!found.length) { say(asked ? `nothing is called “${asked}”` : ""); return; }
  const next = found[(found.indexOf(now) + 1) % found.length];
  choose(next);
  say(`${found.indexOf(next) + 1} of ${found.length}`);
});

function step(up, right) {
  const all = [...place.keys()];
  if (!now || !place.has(now)) return choose(all.find((n) => n.kind === "logit") || all[0]);
  const [x, y] = place.get(now);
  const ahead = all.filter((n) => {
    const [nx, ny] = place.get(n);
    return up ? (up > 0 ? ny < y - 1 : ny > y + 1) : Math.abs(ny - y) < 1 && (right > 0 ? nx > x + 1 : nx < x - 1);
  });
  const cost = (n) => { const [nx, ny] = place.get(n); return Math.abs(ny - y) * (up ? 1000 : 1) + Math.abs(nx - x); };
  ahead.sort((a, b) => cost(a) - cost(b));
  if (ahead.length) choose(ahead[0]);
}
document.addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(e.target.tagName) && e.target.type !== "range" && e.target.type !== "checkbox") return;
  const keys = {
    ArrowUp: () => step(1, 0), ArrowDown: () => step(-1, 0), ArrowLeft: () => step(0, -1), ArrowRight: () => step(0, 1),
    i: () => now?.ins[0] && choose(now.ins[0].source), o: () => now?.outs[0] && choose(now.outs[0].target),
    p: () => pin(now), t: theme, "?": help, Escape: () => choose(null), f: () => $("search").focus(),
    g: () => { const grouped = new Set(groups.flatMap((g) => g.ids)); const ids = [...pinned].filter((id) => !grouped.has(id)); if (ids.length > 1) group(ids, "group"); else say("pin two nodes or more, then group them"); },
  };
  if (!keys[e.key] || (e.target.type === "range" && e.key.startsWith("Arrow"))) return;
  e.preventDefault();
  keys[e.key]();
});

show(JSON.parse($("data").textContent));
