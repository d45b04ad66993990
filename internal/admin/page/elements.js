// Elements. Text is always text: nothing here reads HTML.

// tag makes an element with attributes and children, elements or text.
export function tag(name, attributes = {}, ...children) {
  const e = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
  e.append(...children);
  return e;
}

// show puts children in the place of those that e has, unless they look the same.
export function show(e, ...children) {
  const next = tag(e.tagName, {}, ...children);
  if (next.innerHTML !== e.innerHTML) e.replaceChildren(...next.childNodes);
}

// row is a row of a table: texts, or pairs of a text and a smaller one, or elements; then numbers.
export function row(texts, numbers = [], cell = "td") {
  const scope = cell === "th" ? { scope: "col" } : {};
  const content = (c) => Array.isArray(c) ? [c[0], ...(c[1] ? [tag("small", {}, c[1])] : [])] : [c];
  return tag("tr", {}, ...texts.map((t) => t instanceof HTMLTableCellElement ? t : tag(cell, scope, ...content(t))),
    ...numbers.map((n) => tag(cell, { class: "number", ...scope }, ...content(n))));
}

// table is one with a heading, or a sentence where it would be empty.
export function table(head, numbers, rows, max = 12) {
  const shown = rows.slice(0, max);
  const more = rows.length > max ? [tag("caption", {}, `${max} of ${rows.length}`)] : [];
  return tag("div", { class: "scroll" }, tag("table", {}, ...more, tag("thead", {}, row(head, numbers, "th")), tag("tbody", {}, ...shown)));
}

export const none = (text) => tag("p", { class: "none" }, text);

export const figure = (name, value) => tag("div", {}, tag("dt", {}, name), tag("dd", {}, value));

// share is a bar from 0 to 1, which the text tells too.
export const share = (value, name) => tag("meter", { min: 0, max: 1, value, "aria-label": name });

// age is seconds for people.
export function age(seconds) {
  if (seconds < 60) return Math.round(seconds) + " s";
  if (seconds < 3600) return Math.floor(seconds / 60) + " min";
  return seconds < 172800 ? Math.floor(seconds / 3600) + " h" : Math.floor(seconds / 86400) + " days";
}
