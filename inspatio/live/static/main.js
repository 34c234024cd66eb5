// @ts-check
/** The page: connects the person's camera, the server and what is shown. Nothing is drawn while nothing changes. */
import { Camera, WALL, conjugate, plus, rotate } from "./camera.js";
import { Controls } from "./controls.js";
import { FlightMap } from "./map.js";
import { Net } from "./net.js";
import * as panel from "./panel.js";
import { Pictures, decodesH264 } from "./pictures.js";
import { CODECS } from "./protocol.js";
import { SpaceView } from "./space.js";
import { Videos } from "./videos.js";

const LAYERS = ["result", "render", "holes", "depth", "source", "wipe", "branches"];
const HEARTBEAT = 1000;
const SAMPLES = 400;
const TURN_SECONDS = 0.3;

const get = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));
const stage = /** @type {HTMLCanvasElement} */ (get("stage"));
const pen = /** @type {CanvasRenderingContext2D} */ (stage.getContext("2d", { alpha: false }));
const map = new FlightMap(get("map"));
const space = new SpaceView(get("space"), map);
const camera = new Camera();
const controls = new Controls(stage, get("stick"), camera, act, wake);
const pictures = new Pictures((reason, again) => {
  if (again) return net.send({ type: "codec", codec: "h264" });
  panel.notify(`H.264 could not be decoded (${reason}); pictures are JPEG now`, "error");
  wantCodec("jpeg");
});
const videos = new Videos(showFlights, (reason) => panel.notify(reason, "error"));
const net = new Net(receive, picture, connected);

let scene = /** @type {any} */ (null);
let status = /** @type {any} */ (null);
let driver = false;
let layer = "result";
let before = "result";
let rate = 1; // to go back to after a pause
let seq = 0;
let shown = /** @type {any} */ (null);
let canRender = false;
let maxTurn = Infinity; // radians a second that the generator follows
let turning = 0; // radians a second, over TURN_SECONDS
let flights = /** @type {any[]} */ ([]);
let pictureBytes = 0;
let orbitSeq = -1;
let replay = /** @type {{lines: number[][], began: number} | null} */ (null);
const counts = { pictures: 0, drawn: 0, errors: 0 };
/** Commands that wait for their picture: the first pose that holds them, and when the person gave them. */
const waiting = /** @type {{seq: number, at: number, presented: boolean, generated: boolean}[]} */ ([]);
const latency = /** @type {number[]} */ ([]);
const generatedLatency = /** @type {number[]} */ ([]);
let commanded = 0;

// Motion

let running = false;
let last = 0;
let sent = 0;

/** Something is to be done: run until nothing moves. */
function wake() {
  if (!commanded) commanded = performance.now();
  if (running) return;
  running = true;
  const now = performance.now();
  last = now - 1000 / 60; // the first step is made at once: the next frame of the page would answer later
  tick(now);
}

/** @param {number} now */
function tick(now) {
  const dt = Math.min(Math.max((now - last) / 1000, 0), 0.1);
  last = now;
  const wanted = controls.wanted();
  const replaying = flyReplay(now);
  const moving = camera.step(dt, wanted) || replaying;
  noteTurn(dt);
  if (moving || controls.nudged) {
    controls.nudged = false;
    sendPose();
  } else if (camera.velocity.every((each) => !each) && !wanted.pad && !controls.touches.size) {
    running = false;
    commanded = turning = 0;
    sendPose(); // the last one says that nothing moves
    return;
  }
  requestAnimationFrame(tick);
}

let faced = camera.quaternion;
/** Measure how fast the camera turns, however it was turned. @param {number} dt */
function noteTurn(dt) {
  const along = Math.abs(camera.quaternion.reduce((sum, each, i) => sum + each * faced[i], 0));
  faced = camera.quaternion;
  if (dt > 0) turning += (1 - Math.exp(-dt / TURN_SECONDS)) * ((2 * Math.acos(Math.min(along, 1))) / dt - turning);
}

function sendPose() {
  if (!driver) return;
  const message = camera.message(++seq);
  net.send(message);
  sent = performance.now();
  if (commanded) {
    waiting.push({ seq, at: commanded, presented: false, generated: false });
    if (waiting.length > 100) waiting.shift();
    commanded = 0;
  }
}

setInterval(() => driver && net.connected && performance.now() - sent > HEARTBEAT && document.hasFocus() && sendPose(), HEARTBEAT);

// Pictures

/** @param {any} header @param {Uint8Array<ArrayBuffer>} data */
async function picture(header, data) {
  counts.pictures++;
  const image = await pictures.decode(header, data);
  if (!image) return;
  if (!shown || header.frame > shown.frame) {
    if (stage.width !== image.displayWidth) [stage.width, stage.height] = [image.displayWidth, image.displayHeight];
    pen.drawImage(image, 0, 0);
    counts.drawn++;
    const same = shown && codecName(shown) === codecName(header);
    pictureBytes = same ? 0.9 * pictureBytes + 0.1 * data.length : data.length;
    shown = header;
    if (!same && status) panel.showNumbers(status, told());
    if (scene) {
      const frame = Math.round(header.sourceFrame);
      panel.showTime(frame, scene.frames, scene.fps);
      map.shown(header, { velocity: camera.velocity, rotate: (v) => rotate(header.quaternion, v) });
      space.soon();
      camera.coverage = header.coverage;
      camera.source = source();
      panel.showWayBack(header.coverage < WALL ? camera.towardsSource : null);
    }
    requestAnimationFrame(() => requestAnimationFrame(() => presented(header)));
  }
  image.close();
}

/** @param {any} header */
const codecName = (header) => (header.codec === CODECS.JPEG ? "JPEG" : "H.264");

/** Ask for pictures as this page wants them, where that can be. */
async function chooseCodec() {
  const wanted = localStorage.getItem("codec") ?? "jpeg";
  get("codec").classList.toggle("on", wanted === "h264");
  if (wanted === "h264" && !(await decodesH264())) {
    panel.notify("H.264 cannot be decoded here (that needs https or localhost); pictures stay JPEG", "error");
    return;
  }
  net.send({ type: "codec", codec: wanted });
}

/** @param {string} codec */
function wantCodec(codec) {
  localStorage.setItem("codec", codec);
  pictures.failures = 0;
  chooseCodec();
}

/** @param {any} header */
function presented(header) {
  const now = performance.now();
  for (const each of waiting) {
    if (!each.presented && header.seq >= each.seq) {
      each.presented = true;
      push(latency, now - each.at);
    }
    if (!each.generated && header.answers >= each.seq) {
      each.generated = true;
      push(generatedLatency, now - each.at);
    }
  }
  while (waiting.length && waiting[0].presented && waiting[0].generated) waiting.shift();
}

/** @param {number[]} list @param {number} value */
function push(list, value) {
  list.push(value);
  if (list.length > SAMPLES) list.shift();
}

// Messages

/** @param {any} message */
function receive(message) {
  switch (message.type) {
    case "welcome":
      scene = message.scene;
      driver = message.driver;
      canRender = message.can_render;
      maxTurn = message.max_turn === null ? Infinity : (message.max_turn * Math.PI) / 180;
      camera.foreground = camera.centreDepth = scene.foreground;
      get("clip").textContent = `${scene.clip} · ${message.generator}`;
      get("prompt").hidden = !message.reads_prompt;
      shown = null;
      map.setScene(scene);
      controls.setTable(message.controls);
      panel.makeHelp(message.controls);
      get("codec").hidden = !message.codecs.includes("h264");
      if (message.codecs.includes("h264")) chooseCodec();
      moved(message.state);
      layer = message.state.layer;
      panel.showLayer(layer);
      break;
    case "moved":
      moved(message.state);
      break;
    case "status":
      status = message;
      driver = message.driver;
      if (status.rate) rate = status.rate;
      camera.centreDepth = status.centre_depth;
      panel.showNumbers(status, told());
      panel.showBranches(status.branches > 1);
      panel.showBookmarks(status.bookmarks, (name) => net.send({ type: "bookmark", action: "go", name }));
      break;
    case "notice":
      panel.notify(message.text, message.level);
      break;
    case "error":
      counts.errors++;
      panel.notify(message.text, "error");
      break;
    case "picked":
      if (message.seq === orbitSeq && message.point) {
        camera.pivot = camera.follow ? camera.relative(message.point, source(), true) : message.point;
        lookAt(camera.pivot);
        showModes();
      }
      break;
    case "flights":
      flights = message.flights;
      showFlights();
      if (canRender) videos.refresh();
      break;
    case "clip":
      download(message.url, "");
      break;
    case "bye":
      panel.notify(message.reason, "error");
  }
}

/** @param {any} state */
function moved(state) {
  camera.position = state.position;
  camera.quaternion = state.quaternion;
  camera.follow = state.follow;
  camera.pivot = null;
  camera.velocity = [0, 0, 0];
  seq = Math.max(seq, state.seq);
  showModes();
}

/** @param {boolean} is @param {boolean} [turnedAway] */
function connected(is, turnedAway) {
  if (is) return;
  driver = false;
  controls.release();
  get("age").className = "lost";
  panel.notify(turnedAway ? "the server was started again; open the address that it has printed now" : "the connection is lost; trying again", "error");
}

/** The source camera of the frame shown. */
function source() {
  const frame = shown ? Math.round(shown.sourceFrame) : 0;
  return { position: scene.source_path[frame], quaternion: scene.source_turns[frame] };
}

/** Turn towards a point of the rig's axes without moving. @param {any} point */
function lookAt(point) {
  const [x, y, z] = rotate(conjugate(camera.quaternion), plus(point, camera.position, -1));
  camera.look(Math.atan2(x, z), Math.atan2(-y, Math.hypot(x, z)));
  controls.nudged = true;
  wake();
}

// What a press does

/** @param {string} action @param {string} key */
function act(action, key) {
  get("welcome").classList.add("gone");
  const now = status?.rate ?? 0;
  const time = (/** @type {any} */ change) => net.send({ type: "time", ...change });
  switch (action) {
    case "pause": return time({ rate: now ? 0 : rate });
    case "stop": return time({ rate: 0 });
    case "play": return time({ rate: now > 0 ? Math.min(2 * now, 4) : 1 });
    case "reverse": return time({ rate: now < 0 ? Math.max(2 * now, -4) : -1 });
    case "slower": return time({ rate: now / 2 || rate / 2 });
    case "faster": return time({ rate: Math.min(Math.max(2 * (now || rate / 2), -4), 4) });
    case "step_back": return time({ step: -1 });
    case "step_on": return time({ step: 1 });
    case "home":
      camera.goHome(source());
      showModes();
      return wake();
    case "follow":
      camera.setFollow(!camera.follow, source());
      showModes();
      controls.nudged = true;
      return wake();
    case "orbit":
      if (camera.pivot) camera.pivot = null;
      else net.send({ type: "pick", seq: (orbitSeq = ++seq), x: clamp(controls.cursor[0]), y: clamp(controls.cursor[1]) });
      return showModes();
    case "layer": {
      const layers = LAYERS.filter((name) => name !== "branches" || status?.branches > 1);
      return setLayer(layers[(layers.indexOf(layer) + 1) % layers.length]);
    }
    case "holes": return setLayer(layer === "holes" ? before : "holes");
    case "record": return net.send({ type: "record", action: status?.recording ? "stop" : "start" });
    case "mark": return net.send({ type: "bookmark", action: "set", name: String(freeMark()) });
    case "bookmark": return net.send({ type: "bookmark", action: "go", name: key.slice(-1) });
    case "swap": return net.send({ type: "swap" });
    case "screenshot": return stage.toBlob((blob) => blob && download(URL.createObjectURL(blob), `${scene.clip}.png`));
    case "clip": return net.send({ type: "clip" });
    case "anchor": return net.send({ type: "restart" });
    case "speed": return status && panel.showNumbers(status, told());
    case "help": return get("help").open ? get("help").close() : get("help").showModal();
  }
}

/** @param {number} value */
const clamp = (value) => Math.min(Math.max(value, 0), 1);

function freeMark() {
  const taken = status?.bookmarks ?? [];
  for (let i = 1; i < 10; i++) if (!taken.includes(String(i))) return i;
  return 9;
}

/** @param {string} name */
function setLayer(name) {
  before = layer === "holes" ? before : layer;
  layer = name;
  panel.showLayer(layer);
  net.send({ type: "view", layer });
}

function showModes() {
  get("follow").classList.toggle("on", camera.follow);
  get("orbit").classList.toggle("on", Boolean(camera.pivot));
  stage.classList.toggle("orbit", Boolean(camera.pivot));
}

/** @param {string} url @param {string} name */
function download(url, name) {
  const link = Object.assign(document.createElement("a"), { href: url, download: name });
  link.click();
  if (url.startsWith("blob:")) setTimeout(() => URL.revokeObjectURL(url), 1000);
}

// Flights

const flightActions = {
  render: (/** @type {string} */ flight) => videos.start(flight),
  stop: (/** @type {string} */ flight) => videos.remove(flight),
  remove: (/** @type {string} */ name) => net.send({ type: "record", action: "delete", name }),
  rename: (/** @type {string} */ name) => {
    const to = prompt("new name: a-z 0-9 -", name);
    if (to && to !== name) net.send({ type: "record", action: "rename", name, to });
  },
  fly: async (/** @type {any} */ flight) => {
    const text = await (await fetch(flight.url)).text();
    const lines = text.split("\n").filter((line) => line && !line.startsWith("#")).map((line) => line.split(" ").map(Number));
    camera.setFollow(false, source());
    showModes();
    replay = { lines, began: performance.now() };
    net.send({ type: "time", rate: 0, seek: lines[0][0] });
    wake();
  },
};

function showFlights() {
  panel.showFlights(flights, canRender ? videos.found : null, flightActions);
}

/** Follow a recorded flight. @param {number} now @returns {boolean} whether it goes on */
function flyReplay(now) {
  if (!replay || controls.held.size) {
    replay = null;
    return false;
  }
  const place = Math.floor(((now - replay.began) / 1000) * scene.fps);
  const line = replay.lines[Math.min(Math.max(place, 0), replay.lines.length - 1)];
  camera.position = [line[4], line[8], line[12]];
  camera.quaternion = fromMatrix(line);
  if (shown && Math.round(shown.sourceFrame) !== line[0]) net.send({ type: "time", seek: line[0] });
  if (place >= replay.lines.length) replay = null;
  return Boolean(replay);
}

/** The quaternion of a row-major matrix whose first number is at 1. @param {number[]} m @returns {[number, number, number, number]} */
function fromMatrix(m) {
  const at = (/** @type {number} */ row, /** @type {number} */ column) => m[1 + 4 * row + column];
  const w = Math.sqrt(Math.max(0, 1 + at(0, 0) + at(1, 1) + at(2, 2))) / 2;
  const x = (Math.sqrt(Math.max(0, 1 + at(0, 0) - at(1, 1) - at(2, 2))) / 2) * Math.sign(at(2, 1) - at(1, 2) || 1);
  const y = (Math.sqrt(Math.max(0, 1 - at(0, 0) + at(1, 1) - at(2, 2))) / 2) * Math.sign(at(0, 2) - at(2, 0) || 1);
  const z = (Math.sqrt(Math.max(0, 1 - at(0, 0) - at(1, 1) + at(2, 2))) / 2) * Math.sign(at(1, 0) - at(0, 1) || 1);
  const length = Math.hypot(w, x, y, z);
  return [w / length, x / length, y / length, z / length];
}

// Buttons

panel.makeLayers(LAYERS, setLayer);
panel.showLayer(layer);
for (const [id, action] of Object.entries({
  follow: "follow", orbit: "orbit", home: "home", mark: "mark", record: "record", shot: "screenshot", lastclip: "clip",
  swap: "swap", anchor: "anchor", reverse: "reverse", pause: "pause", slower: "slower", faster: "faster", helpbutton: "help",
})) {
  get(id).onclick = () => {
    act(action, "");
    if (id !== "helpbutton") stage.focus();
  };
}
get("in3d").hidden = !space.gl;
get("in3d").onclick = () => {
  space.toggle();
  get("in3d").classList.toggle("on", space.open);
  stage.focus();
};
get("codec").onclick = () => {
  wantCodec(localStorage.getItem("codec") === "h264" ? "jpeg" : "h264");
  stage.focus();
};
get("wheel").onclick = () => net.send({ type: "wheel", action: driver ? "give" : "take" });
get("scrub").oninput = () => net.send({ type: "time", rate: 0, seek: Number(get("scrub").value) });
get("scrub").onchange = () => stage.focus();
get("prompt").onsubmit = (/** @type {Event} */ event) => {
  event.preventDefault();
  net.send({ type: "prompt", text: get("text").value });
  stage.focus();
};
stage.addEventListener("pointerdown", () => get("welcome").classList.add("gone"));

// What tests and users may ask

/** @param {number[]} list @param {number} share */
function quantile(list, share) {
  const sorted = [...list].sort((a, b) => a - b);
  return sorted.length ? sorted[Math.min(Math.floor(share * sorted.length), sorted.length - 1)] : null;
}

function told() {
  const sent = shown && `${codecName(shown)} ${(pictureBytes / 1000).toFixed(0)} kB`;
  return { driver, speed: camera.pace / camera.foreground, latency: quantile(latency, 0.5), sent, tooFast: turning > maxTurn };
}

/** The numbers of the page, for tests and for whoever wants to know. */
function stats() {
  return {
    connected: net.connected, driver, layer, follow: camera.follow, orbit: Boolean(camera.pivot), seq, moving: running,
    ...(status ?? {}), ...counts, bytes: net.bytes, codec: shown && codecName(shown),
    shown: shown && { ...shown }, points: space.count, foreground: camera.foreground, position: [...camera.position], quaternion: [...camera.quaternion],
    latency: { p50: quantile(latency, 0.5), p95: quantile(latency, 0.95), count: latency.length },
    generated_latency: { p50: quantile(generatedLatency, 0.5), p95: quantile(generatedLatency, 0.95), count: generatedLatency.length },
  };
}
/** @type {any} */ (window).inspatio = { stats, drawSpace: () => space.draw() };
