"use strict";
// Draws the panels of a report: by textContent, attributes and SVG only, so that no text can become markup.
(() => {
  const report = JSON.parse(document.getElementById("data").textContent);
  const PHONE = matchMedia("(max-width: 480px)").matches, LETTERS = PHONE ? 15 : 11; // size of those in pictures, as page.css has it
  const COLOURS = ["--one", "--two", "--three", "--four"];

  function make(name, attributes = {}, ...children) {
    const element = document.createElement(name);
    return filled(element, attributes, children);
  }
  function draw(name, attributes = {}, ...children) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    return filled(element, attributes, children);
  }
  function filled(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }
  function figure(value) {
    if (value === null || value === undefined) return "–";
    if (typeof value !== "number") return String(value);
    if (Number.isInteger(value)) return value.toLocaleString("en");
    const size = Math.abs(value);
    if (size >= 1000) return Math.round(value).toLocaleString("en");
    return size && size < 1e-3 ? value.toPrecision(3) : String(Number(value.toPrecision(4)));
  }
  // The distance of about `count` marks from `low` to `high`: 1, 2 or 5 times a power of ten; `whole`: no fraction.
  function gapOf(low, high, count, whole = false) {
    const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
    const gap = power * [1, 2, 5, 10].find(times => times * power >= 0.999 * rough);
    return whole ? Math.max(1, gap) : gap;
  }
  // The multiples of `gap` from `low` to `high`.
  function ticks(low, high, gap) {
    const first = Math.ceil(low / gap - 1e-9), last = Math.floor(high / gap + 1e-9);
    return Array.from({ length: last - first + 1 }, (_, place) => Number(((first + place) * gap).toPrecision(12)));
  }
  const powerOfTen = exponent => exponent >= -3 && exponent <= 4 ? figure(Number(`1e${exponent}`))
    : "10" + String(exponent).replace(/./g, sign => sign === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[sign]);
  const shade = (variable, share) => `color-mix(in srgb, var(${variable}) ${Math.round(100 * share)}%, transparent)`;

  // Lines over a common x; `log`: the y axis counts powers of ten; `best`: the x of a mark on the last line.
  function lines(panel) {
    const W = 480, H = 230, right = 14, top = 20 + LETTERS, bottom = 12 + 2 * LETTERS;
    const tall = value => (panel.log ? Math.log10(Math.max(value, panel.floor)) : value);
    const points = panel.lines.flatMap(line => line.points.filter(([, y]) => y !== null));
    const xs = points.map(([x]) => x), ys = points.map(([, y]) => tall(y));
    let [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    [x0, x1] = [Math.min(0, x0), Math.max(1, x1)];
    if (y0 === y1) [y0, y1] = [y0 - (0.05 * Math.abs(y0) || 0.5), y1 + (0.05 * Math.abs(y1) || 0.5)];
    if (panel.log) [y0, y1] = [Math.floor(y0), Math.ceil(y1)];
    const gap = gapOf(y0, y1, 4, panel.log), marks = ticks(x0, x1, gapOf(x0, x1, 5, true));
    if (!panel.log) [y0, y1] = [Math.floor(y0 / gap + 1e-9) * gap, Math.ceil(y1 / gap - 1e-9) * gap];
    const heights = ticks(y0, y1, gap);
    const labels = heights.map(panel.log ? powerOfTen : figure);
    const left = 12 + 0.62 * LETTERS * Math.max(3, ...labels.map(label => label.length));
    const X = x => left + (x - x0) / (x1 - x0) * (W - left - right);
    const Y = y => H - bottom - (tall(y) - y0) / (y1 - y0) * (H - top - bottom);
    const picture = draw("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": panel.title });
    heights.forEach((value, place) => {
      const y = H - bottom - (value - y0) / (y1 - y0) * (H - top - bottom);
      picture.append(draw("line", { x1: left, x2: W - right, y1: y, y2: y, class: "axis" }));
      picture.append(draw("text", { x: left - 6, y: y + 4, "text-anchor": "end" }, labels[place]));
    });
    for (const x of marks) picture.append(draw("text", { x: X(x), y: H - bottom + 4 + LETTERS,
      "text-anchor": X(x) > W - 2 * LETTERS ? "end" : "middle" }, figure(x)));
    picture.append(draw("text", { x: 0, y: LETTERS }, panel.up));
    picture.append(draw("text", { x: (left + W) / 2, y: H - 4, "text-anchor": "middle" }, panel.across));
    const colour = (line, place) => `var(${COLOURS[(line.colour ?? place) % 4]})`;
    panel.lines.forEach((line, place) => {
      const there = line.points.filter(([, y]) => y !== null);
      picture.append(draw("polyline", { points: there.map(([x, y]) => `${X(x).toFixed(1)},${Y(y).toFixed(1)}`).join(" "),
        fill: "none", "stroke-width": 2, style: `stroke: ${colour(line, place)}`, "stroke-dasharray": line.dashed ? "5 4" : "none" }));
      if (there.length === 1) picture.append(draw("circle", { cx: X(there[0][0]), cy: Y(there[0][1]), r: 3, style: `fill: ${colour(line, place)}` }));
    });
    const key = make("div", { class: "key" }, ...panel.lines.map((line, place) =>
      make("span", {}, make("i", { style: `color: ${colour(line, place)}`, class: line.dashed ? "dashed" : "" }), line.name)));
    const best = panel.lines.at(-1).points.find(([x, y]) => x === panel.best && y !== null);
    if (best) {
      const ring = `color: ${colour(panel.lines.at(-1), panel.lines.length - 1)}`;
      picture.append(draw("circle", { cx: X(best[0]), cy: Y(best[1]), r: 5, class: "best", style: ring }));
      key.append(make("span", {}, make("i", { class: "best", style: ring }), `best: ${figure(best[1])} at step ${figure(best[0])}`));
    }
    return [picture, key];
  }

  function facts(panel) {
    const rows = panel.rows.map(([name, value]) => make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, figure(value))));
    return [make("div", { class: "scroll", tabindex: "0" }, make("table", {}, ...rows))];
  }

  function samples(panel) {
    return [make("div", { class: "columns" }, ...panel.samples.map(([name, text]) =>
      make("div", {}, make("p", { class: "about" }, name), make("pre", { class: "text" }, text))))];
  }

  function surprisal(panel) {
    const hint = make("p", { class: "hint" }, "Point at a token."), text = make("pre", { class: "text" });
    for (const [piece, bits] of panel.tokens) {
      const span = make("span", { style: `background: ${shade("--two", Math.min(1, bits / panel.most) * 0.75)}`, title: `${figure(bits)} bits` }, piece);
      span.addEventListener("pointerenter", () => { hint.textContent = `“${piece}”: ${figure(bits)} bits`; });
      text.append(span);
    }
    return [text, hint];
  }

  function map(panel) {
    const W = PHONE ? 480 : 960, H = PHONE ? 560 : 540, edge = 14, hint = make("p", { class: "hint" }, "Point at a dot, or tap it, to see its word.");
    const spread = axis => { const all = panel.points.map(each => each[axis]); return [Math.min(...all), Math.max(...all) - Math.min(...all) || 1]; };
    const [[x0, width], [y0, height]] = [spread(1), spread(2)];
    const picture = draw("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": panel.title });
    const taken = [], names = draw("g");
    // Where a name fits next to its dot without covering another name or its dot; the others show their name on hover.
    function name(word, cx, cy) {
      const wide = LETTERS * (0.62 * word.length + 0.4); // at most, nearly always
      const rows = [[cx + 6, cy + 4], [cx - 6 - wide, cy + 4], [cx - wide / 2, cy - 7], [cx - wide / 2, cy + 4 + LETTERS]];
      const boxes = rows.map(([x, y]) => ({ x, y, left: x, right: x + wide, top: y - LETTERS, bottom: y + 0.3 * LETTERS }));
      const isFree = ({ left, right, top, bottom }) => left > 0 && right < W && top > 0 && bottom < H &&
        taken.every(other => right < other.left || left > other.right || bottom < other.top || top > other.bottom);
      const own = { left: cx - 4, right: cx + 4, top: cy - 4, bottom: cy + 4 }, free = isFree(own) && boxes.find(isFree);
      if (!free) return false;
      taken.push(own, free);
      names.append(draw("text", { x: free.x, y: free.y }, word));
      return true;
    }
    for (const [word, x, y] of panel.points) { // the most frequent one first
      const cx = edge + (x - x0) / width * (W - 6 * edge), cy = edge + (y - y0) / height * (H - 2 * edge);
      const dot = draw("circle", { cx, cy, r: 4, class: name(word, cx, cy) ? "word" : "word unnamed" }, draw("title", {}, word));
      const say = () => { hint.textContent = word; };
      dot.addEventListener("pointerenter", say);
      dot.addEventListener("click", say);
      picture.append(dot);
    }
    picture.append(names);
    return [picture, hint];
  }

  function units(panel) {
    const list = make("div", { class: "list", role: "group", "aria-label": "units" }), text = make("pre", { class: "text" });
    const head = make("p", { class: "about shown", "aria-live": "polite" });
    const spans = panel.pieces.map(piece => make("span", {}, piece));
    text.append(...spans);
    const buttons = panel.units.map((unit, place) => {
      const button = make("button", { type: "button", "aria-pressed": "false" }, make("b", {}, unit.name),
        make("small", {}, unit.follows.map(([feature, r]) => `${feature} ${r.toFixed(2)}`).join(", ")));
      button.addEventListener("click", () => show(place));
      return button;
    });
    list.append(...buttons);
    function show(place) {
      const unit = panel.units[place], bytes = atob(unit.values);
      buttons.forEach((button, other) => button.setAttribute("aria-pressed", String(other === place)));
      const follows = unit.follows.map(([feature, r]) => `, ${r.toFixed(2)} with ${feature}`).join("");
      head.textContent = `unit ${unit.name}${follows}; the strongest colour is ±${figure(unit.most)}`;
      spans.forEach((span, at) => {
        const value = (bytes.charCodeAt(at) << 24 >> 24) / 127;
        span.style.background = shade(value > 0 ? "--two" : "--one", Math.abs(value) * 0.8);
        span.title = figure(value * unit.most);
      });
    }
    show(0);
    return [make("div", { class: "viewer" }, list, make("div", {}, head, text))];
  }

  function matrix(panel) {
    const head = make("tr", {}, make("th", {}, ""), ...panel.across.map(label => make("th", { scope: "col" }, label)));
    const rows = panel.values.map((row, place) => make("tr", {}, make("th", { scope: "row" }, panel.down[place]),
      ...row.map(([share, label]) => make("td", { style: `background: ${shade("--one", share * 0.7)}`, title: figure(share) }, label))));
    return [make("div", { class: "scroll", tabindex: "0" }, make("table", { class: "grid" }, head, ...rows))];
  }

  // An option of a text to be written: its label, and what it is set by.
  function entry(field) {
    const name = { id: `ask-${field.name}`, name: field.name };
    const step = field.whole ? "1" : "any", bounds = { min: field.least ?? "", max: field.most ?? "" };
    const input = field.kind === "text" ? make("textarea", { ...name, rows: "2", placeholder: "text to continue" })
      : field.kind === "choice" ? make("select", name, make("option", { value: "" }, "nobody's"), ...field.choices.map(each => make("option", {}, each)))
      : make("input", { ...name, type: "number", step, ...bounds, placeholder: field.default === null ? "random" : "", value: field.default ?? "" });
    return { field, input, label: make("label", { for: name.id, title: field.help, class: field.kind }, field.name.replaceAll("_", " "), input) };
  }

  // The lines of the server's answer, token by token, and at the end the whole text; throws the error.
  async function* answer(asked, signal) {
    const reply = await fetch("write", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(asked), signal });
    if (!reply.ok) throw new Error((await reply.json()).error);
    const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = "", part = await reader.read(); !part.done; part = await reader.read()) {
      const whole = (rest + part.value).split("\n");
      rest = whole.pop();
      for (const event of whole.map(line => JSON.parse(line))) {
        if (event.error) throw new Error(event.error);
        yield event;
      }
      await new Promise(requestAnimationFrame); // so that the button is heard, however fast the text comes
    }
  }

  // How likely a token was, and what else could have come.
  function chances(event, shown) {
    const percent = share => `${figure(Number((100 * share).toPrecision(3)))} %`;
    const rows = event.likeliest.map(([name, share]) => make("tr", {}, make("th", { scope: "row" }, `“${name}”`),
      make("td", {}, make("i", { style: `width: ${Math.max(1, Math.round(100 * share))}%` })), make("td", {}, percent(share))));
    const head = `“${shown.trim() || "␣"}” was drawn with ${percent(event.probability)}; the likeliest were`;
    return [make("p", { class: "about" }, head), make("table", {}, ...rows)];
  }

  // A text on the colours of its tokens' surprise, which grows; pointing, clicking and the arrow keys choose one.
  function written(most) {
    const text = make("div", { class: "text written", tabindex: "0", role: "group", "aria-label": "the text; arrows go from token to token" });
    const likely = make("div", { class: "likely", "aria-live": "polite" });
    let tokens = [], lines = [], chosen = -1, scrolling = null;

    function lineOf(number) {
      while (lines.length <= number) text.append(lines[lines.push(make("div")) - 1]);
      return lines[number];
    }
    function begin(prime) {
      [tokens, lines, chosen] = [[], [], -1];
      text.replaceChildren();
      likely.replaceChildren();
      lineOf(0).append(make("span", { class: "prime" }, prime));
    }
    function add(event) {
      const place = tokens.length, bits = -Math.log2(Math.max(event.probability, 1e-30));
      const span = make("span", { class: "token", style: `background: ${shade("--two", Math.min(1, bits / most) * 0.75)}` },
        event.token === "" ? "·" : event.token.replaceAll("\n", "↵"));
      for (const kind of ["pointerenter", "click"]) span.addEventListener(kind, () => choose(place));
      tokens.push({ event, span });
      lineOf(event.line).append(span, ...(event.token.endsWith("\n") ? [make("br")] : []));
      scrolling ??= requestAnimationFrame(() => { // laid out once a frame
        text.scrollTop = text.scrollHeight;
        scrolling = null;
      });
      return tokens.length;
    }
    function choose(place) {
      if (!tokens[place]) return;
      tokens[chosen]?.span.classList.remove("chosen");
      const { event, span } = tokens[chosen = place];
      span.classList.add("chosen");
      likely.replaceChildren(...chances(event, span.textContent));
    }
    text.addEventListener("keydown", event => {
      const way = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!way) return;
      event.preventDefault();
      choose(Math.min(tokens.length - 1, Math.max(0, chosen + way)));
    });
    return { element: make("div", { class: "writing" }, text, likely), begin, add };
  }

  // A form that asks the server for a text, which comes token by token.
  function write(panel) {
    const form = make("form", { class: "ask" }), button = make("button", { type: "submit" }, "Write");
    const hint = make("p", { class: "hint", role: "status" }, "Enter writes; Shift and Enter is a new line.");
    const inputs = panel.fields.map(entry), text = written(panel.most);
    form.append(...inputs.map(({ label }) => label), button);
    let going = null;

    function asked() {
      const given = inputs.filter(({ input }) => input.value !== "");
      return Object.fromEntries(given.map(({ field, input }) => [field.name, field.kind === "number" ? Number(input.value) : input.value]));
    }
    async function run(asked, signal) {
      let count = 0;
      try {
        for await (const event of answer(asked, signal)) {
          if ("token" in event) {
            count = text.add(event);
            continue;
          }
          const strangers = event.unknown.length ? `; never seen in training: ${event.unknown.slice(0, 20).join(", ")}` : "";
          hint.textContent = `${count} tokens, seed ${event.seed}${strangers}`;
        }
      } catch (error) {
        hint.textContent = signal.aborted ? `stopped after ${count} tokens` : error instanceof TypeError ? "the server does not answer" : error.message;
      }
    }
    form.addEventListener("submit", async event => {
      event.preventDefault();
      if (going) return going.abort();
      going = new AbortController();
      text.begin(asked().prime ?? "");
      [button.textContent, hint.textContent] = ["Stop", "…"];
      await run(asked(), going.signal);
      [going, button.textContent] = [null, "Write"];
    });
    form.addEventListener("keydown", event => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.target.localName !== "textarea") return;
      event.preventDefault();
      form.requestSubmit();
    });
    return [form, hint, text.element];
  }

  const KINDS = { write, facts, curves: lines, horizon: lines, samples, surprisal, map, units, confusion: matrix, attention: matrix, note: () => [] };
  const WIDE = ["write", "samples", "units", "surprisal", "attention", "map"];
  document.title = `${report.title} – ${report.maker}`;
  document.querySelector("h1").textContent = report.title;
  document.querySelector("header p").textContent = report.about;
  for (const panel of report.panels) {
    const section = make("section", { "data-kind": panel.kind, class: WIDE.includes(panel.kind) ? "wide" : "" }, make("h2", {}, panel.title));
    if (panel.about) section.append(make("p", { class: "about" }, panel.about));
    section.append(...KINDS[panel.kind](panel));
    document.querySelector("main").append(section);
  }
})();
