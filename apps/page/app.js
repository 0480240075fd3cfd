// One picture or one camera, one model, one threshold: ask the server, draw what it found, say it in words.

import { Camera } from "./camera.js";
import { paint } from "./paint.js";

const at = (id) => document.getElementById(id);
const canvas = at("canvas");
const context = canvas.getContext("2d");
const LEAST = at("least").min; // asked of the server, so that the slider answers at once

let models = [];
let most = Infinity; // bytes of a picture
let picture = null; // {name, blob, image}: what was dropped, pasted or chosen
let shown = null; // {image, found}: what the canvas shows
let asked = 0; // how many pictures were sent; only the last one's answer counts
const arrivals = []; // times of the camera's last results
const camera = new Camera(at("video"), onFrame, onCameraEnd);

const model = () => models.find((one) => one.name === at("model").value);
const query = () => new URLSearchParams({ model: at("model").value, confidence: LEAST });
const live = () => !at("live").hidden;

async function begin() {
  const reply = await fetch("models");
  ({ models, body: most } = await reply.json());
  for (const one of models) at("model").add(new Option(`${one.name} (${one.finds})`, one.name));
  usual();
}

/** The threshold that the model was made with. */
function usual() {
  at("least").value = model().confidence;
  at("shown").value = Number(at("least").value).toFixed(2);
}

async function open(blob, name) {
  if (!blob) return;
  stopCamera();
  if (blob.size > most) return fail(`${name} has more than ${most / 1e6} MB`);
  // What the browser cannot show, such as TIFF, the server may still read.
  const image = await createImageBitmap(blob).catch(() => null);
  picture = { name, blob, image };
  at("hint").hidden = Boolean(image);
  await look();
}

async function look() {
  const { blob, image } = picture;
  const turn = ++asked;
  if (image) show(image, null);
  say("Looking …");
  const begun = performance.now();
  try {
    const headers = { "Content-Type": blob.type.startsWith("image/") ? blob.type : "application/octet-stream" };
    const reply = await fetch(`find?${query()}`, { method: "POST", headers, body: blob });
    const found = await reply.json();
    if (turn !== asked) return;
    if (!reply.ok) return fail(found.error);
    result(image, found, performance.now() - begun);
  } catch {
    if (turn === asked) fail("The server does not answer");
  }
}

function result(image, found, trip) {
  for (const what of ["read", "find"]) at(what).textContent = `${found.ms[what].toFixed(1)} ms`;
  at("trip").textContent = `${trip.toFixed(1)} ms`;
  at("size").textContent = `${found.image_size[1]} × ${found.image_size[0]}`;
  at("times").hidden = false;
  show(image, found);
}

function onFrame(image, found, trip) {
  if (found.error) return say(found.error, true);
  const now = performance.now();
  arrivals.push(now);
  while (arrivals[0] < now - 2000) arrivals.shift();
  if (arrivals.length > 2) {
    const rate = (1000 * (arrivals.length - 1)) / (now - arrivals[0]);
    at("rate").textContent = `${rate.toFixed(1)} /s`;
  }
  result(image, found, trip);
}

/** What is sure enough, of everything that was found. */
function sure(found) {
  const least = Number(at("least").value);
  const keep = found.confidence.map((confidence) => confidence >= least);
  const chosen = { ...found };
  for (const key of ["confidence", "xyxy", "class_id", "name", "xy", "keypoint_confidence"])
    if (key in found) chosen[key] = found[key].filter((_, k) => keep[k]);
  return chosen;
}

function show(image, found) {
  shown = { image, found };
  at("hint").hidden = true;
  const [height, width] = found ? found.image_size : [image.height, image.width];
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  if (image) context.drawImage(image, 0, 0, width, height);
  else Object.assign(context, { fillStyle: "#777" }).fillRect(0, 0, width, height);
  at("save").disabled = !found;
  if (!found) return;
  const chosen = sure(found);
  paint(canvas, chosen, model());
  list(chosen);
}

function list(found) {
  const count = found.confidence.length;
  const poses = model().finds === "poses";
  const kinds = new Map();
  for (let k = 0; k < count; k++) {
    const points = poses && found.keypoint_confidence[k].filter((one) => one > 0).length;
    const name = poses ? `${points} points` : found.name[k];
    const colour = !poses && model().colours[found.class_id[k]];
    if (poses || !kinds.has(name)) kinds.set(poses ? k : name, { name, colour, best: found.confidence[k], count: 0 });
    kinds.get(poses ? k : name).count++;
  }
  const noun = poses ? (count === 1 ? "pose" : "poses") : count === 1 ? "thing" : "things";
  const one = [...kinds.values()];
  say(!count ? "Nothing found" : kinds.size === 1 && !poses ? `${count} ${one[0].name}` : `${count} ${noun}`);
  at("list").replaceChildren(...one.map(row));
}

function row({ name, colour, best, count }) {
  const line = document.createElement("li");
  if (colour) line.append(dot(colour));
  const what = document.createElement("b");
  what.textContent = count > 1 ? `${count} × ${name}` : name; // names come from weight files: text, never markup
  const score = document.createElement("span");
  score.textContent = best.toFixed(2);
  line.append(what, score);
  return line;
}

function dot(colour) {
  const [svg, circle] = ["svg", "circle"].map((name) => document.createElementNS("http://www.w3.org/2000/svg", name));
  for (const side of ["width", "height"]) svg.setAttribute(side, 10);
  for (const [key, value] of Object.entries({ cx: 5, cy: 5, r: 5, fill: `rgb(${colour})` })) circle.setAttribute(key, value);
  svg.append(circle);
  return svg;
}

function say(text, bad = false) {
  if (at("summary").textContent !== text) at("summary").textContent = text;
  at("summary").classList.toggle("bad", bad);
  canvas.setAttribute("aria-label", text);
}

function fail(reason) {
  at("list").replaceChildren();
  at("times").hidden = true;
  at("save").disabled = true;
  if (shown) shown.found = null;
  say(reason, true);
}

async function startCamera() {
  at("camera").disabled = true;
  try {
    await camera.start(liveAddress());
    asked++; // a picture's answer that is still to come is not wanted any more
    cameraIs(true);
  } catch (error) {
    camera.stop();
    fail(error.name === "NotAllowedError" ? "The browser may not use the camera" : "There is no camera to be had");
  }
  at("camera").disabled = false;
}

function liveAddress() {
  const address = new URL(`live?${query()}`, location.href);
  address.protocol = "ws:";
  return address;
}

function stopCamera() {
  camera.stop();
  cameraIs(false);
}

function onCameraEnd(reason) {
  cameraIs(false);
  fail(reason);
}

function cameraIs(on) {
  at("live").hidden = at("rated").hidden = !on;
  at("summary").setAttribute("aria-live", on ? "off" : "polite"); // ten changes a second are no news
  at("camera").textContent = on ? "Stop camera" : "Use camera";
  at("camera").setAttribute("aria-pressed", on);
  if (on) picture = null;
  arrivals.length = 0;
}

function save() {
  const { ms, ...found } = sure(shown.found);
  const name = picture?.name ?? "camera";
  const text = JSON.stringify({ ...found, file: name });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = `${name.replace(/\.[^.]*$/, "")}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

at("choose").onclick = () => at("file").click();
at("file").onchange = ({ target }) => {
  open(target.files[0], target.files[0]?.name);
  target.value = ""; // the same file may be chosen again
};
at("camera").onclick = () => (live() ? stopCamera() : startCamera());
at("model").onchange = () => {
  usual();
  if (live()) camera.connect(liveAddress());
  else if (picture) look();
};
at("least").oninput = () => {
  at("shown").value = Number(at("least").value).toFixed(2);
  if (shown?.found) show(shown.image, shown.found);
};
at("save").onclick = save;
addEventListener("paste", ({ clipboardData }) => {
  const [file] = clipboardData.files;
  open(file, file?.name);
});
addEventListener("dragover", (event) => {
  event.preventDefault();
  at("stage").classList.add("over");
});
addEventListener("dragleave", ({ relatedTarget }) => relatedTarget ?? at("stage").classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  at("stage").classList.remove("over");
  const [file] = event.dataTransfer.files;
  open(file, file?.name);
});
addEventListener("resize", () => shown?.found && show(shown.image, shown.found));

begin().catch(() => fail("The server does not answer"));
