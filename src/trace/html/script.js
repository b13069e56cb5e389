// SPDX-License-Identifier: Apache-2.0
// What every part of the page uses. Text of the trace is hostile: it reaches the document only as text nodes
// and attributes made here, never as markup.
"use strict";

const byId = (id) => document.getElementById(id);

// Characters that would hide, or make the text around them look like something else.
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]/gu;

function clean(value) {
  return String(value).replace(UNSEEN, (c) => "\\u{" + c.codePointAt(0).toString(16) + "}");
}

function element(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {}))
    if (value !== undefined && value !== false)
      node.setAttribute(name, value === true ? "" : value);
  for (const child of children)
    node.append(child instanceof Node ? child : clean(child));
  return node;
}

function svgElement(tag, attributes, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes))
    node.setAttribute(name, value);
  if (text !== undefined)
    node.textContent = clean(text);
  return node;
}

// Lets the browser draw and react between two pieces of long work.
const breathe = () => new Promise((resolve) => setTimeout(resolve, 0));
const SLICE_MS = 24;

const count = (n) => n.toLocaleString("en-US");

function duration(ns) {
  if (ns === null || ns === undefined || Number.isNaN(ns))
    return "";
  if (ns < 1000)
    return ns.toFixed(0) + " ns";
  if (ns < 1e6)
    return (ns / 1e3).toFixed(2) + " µs";
  if (ns < 1e9)
    return (ns / 1e6).toFixed(2) + " ms";
  return (ns / 1e9).toFixed(3) + " s";
}

// A moment, as all formats of traces have it: seconds and nine digits.
const moment = (ns) => (ns / 1e9).toFixed(9);

const plural = (n, what) => count(n) + " " + what + (n === 1 ? "" : "s");
