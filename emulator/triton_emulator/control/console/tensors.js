// Tensors: shown as tables, and made from what a person writes.

import { el } from "./dom.js";

/** How many elements of a tensor the page shows. */
const SHOWN = 256;

/** The elements that a shape has. */
export const elementsOf = (shape) => shape.reduce((product, size) => product * size, 1);

/** `INPUT0 INT32[1,16]` */
export const described = ({ name, datatype, shape }) => `${name} ${datatype}[${shape.join(",")}]`;

/** A table of tensors with their elements. */
export function tensorTable(title, tensors) {
  return el(
    "div",
    { class: "scroll" },
    el(
      "table",
      { class: "tensors" },
      el("caption", {}, title),
      el("thead", {}, el("tr", {}, ...["Name", "Type and shape", "Elements"].map((text) => el("th", { scope: "col" }, text)))),
      el("tbody", {}, ...tensors.map(tensorRow)),
    ),
  );
}

function tensorRow(tensor) {
  return el(
    "tr",
    {},
    el("th", { scope: "row" }, tensor.name),
    el("td", {}, `${tensor.datatype} [${tensor.shape.join(", ")}]`),
    el("td", { class: "elements" }, elementsText(tensor)),
  );
}

function elementsText({ datatype, data, base64, undecodable, parameters, shape }) {
  if (undecodable) return `cannot be read: ${undecodable}`;
  if (base64) return `base64: ${base64.slice(0, 400)}${base64.length > 400 ? " …" : ""}`;
  if (!data) return parameters ? JSON.stringify(parameters) : `${elementsOf(shape)} elements, not shown`;
  const flat = data.flat(Infinity);
  const shown = flat.slice(0, SHOWN).map((each) => (datatype === "BYTES" ? JSON.stringify(each) : String(each)));
  return shown.join(", ") + (flat.length > SHOWN ? ` … and ${flat.length - SHOWN} more` : "");
}

/** A shape with which a request can begin: what it may choose is 1. */
export const firstShape = (shape) => shape.map((size) => Math.max(size, 1));

/** Elements with which a request can begin. */
export function firstElements(datatype, shape) {
  const count = elementsOf(firstShape(shape));
  if (datatype === "BOOL") return "true";
  if (datatype === "BYTES" && count === 1) return "hello";
  if (count > 64) return "1";
  return Array.from({ length: count }, (_, at) => at + 1).join(datatype === "BYTES" ? "\n" : " ");
}

/**
 * The elements that a person wrote, as JSON texts: BYTES line by line, others with spaces or commas between them.
 * One element is enough for all. Throws an Error with the input's name.
 */
export function elementTexts(name, datatype, shape, written) {
  const count = elementsOf(shape);
  const given = datatype === "BYTES" ? written.split("\n") : written.split(/[\s,[\]]+/).filter(Boolean);
  const texts = given.map((each) => elementText(name, datatype, each));
  if (texts.length === 1 && count > 1) return Array(count).fill(texts[0]);
  if (texts.length !== count) {
    throw new Error(`${name}: the shape [${shape.join(", ")}] has ${count} elements, and ${texts.length} are given`);
  }
  return texts;
}

const NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?$/;

function elementText(name, datatype, written) {
  if (datatype === "BYTES") return JSON.stringify(written);
  if (datatype === "BOOL" ? /^(true|false)$/.test(written) : NUMBER.test(written)) return written;
  throw new Error(`${name}: ${JSON.stringify(written)} is no ${datatype}`);
}

/** The shape that a person wrote. Throws an Error with the input's name. */
export function readShape(name, written) {
  const sizes = written.split(/[\s,[\]x]+/).filter(Boolean);
  if (sizes.some((size) => !/^\d+$/.test(size))) throw new Error(`${name}: ${JSON.stringify(written)} is no shape`);
  return sizes.map(Number);
}

/** Whether a datatype has no form in JSON. */
export const isBinary = (datatype) => datatype === "FP16" || datatype === "BF16";

/** The bytes of half floats, little-endian. A BF16 is the upper half of an FP32, rounded to nearest, ties to even. */
export function halfFloats(datatype, texts) {
  const numbers = texts.map(Number);
  const view = new DataView(new ArrayBuffer(2 * numbers.length));
  numbers.forEach((number, at) => {
    if (datatype === "FP16") view.setFloat16(2 * at, number, true);
    else {
      const single = new DataView(new ArrayBuffer(4));
      single.setFloat32(0, number);
      const bits = single.getUint32(0);
      view.setUint16(2 * at, (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16, true);
    }
  });
  return new Uint8Array(view.buffer);
}

/** Arrays of bytes, one after the other, in base64. */
export const base64 = (several) => btoa(several.map((bytes) => Array.from(bytes, (byte) => String.fromCharCode(byte)).join("")).join(""));
