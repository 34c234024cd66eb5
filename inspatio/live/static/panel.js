// @ts-check
/** The numbers, buttons and lists beside the stage. */

const element = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));

/** The rows of the display: label, and text from a status. */
const NUMBERS = /** @type {[string, (s: any, t: any) => string, ((s: any, t: any) => boolean)?][]} */ ([
  ["display", (s) => `${s.display_fps.toFixed(0)} /s`],
  ["generated", (s) => (s.generator === "running" ? `${s.generated_fps.toFixed(1)} /s` : s.generator)],
  ["block", (s) => `${s.block_frames} in ${s.block_ms} ms`],
  ["lag of content", (s) => `${s.lag_ms} ms`, (s) => s.lag_ms > 1000],
  ["source shows", (s) => `${(100 * s.coverage).toFixed(0)} %`, (s) => s.coverage < 0.25],
  ["key to picture", (s, t) => (t.latency ? `${t.latency.toFixed(0)} ms` : "–")],
  ["pictures", (s, t) => t.sent ?? "–"],
  ["speed", (s, t) => `${t.speed.toFixed(2)} /s`],
  ["time", (s) => (s.rate === 0 ? "stands" : `${s.rate.toFixed(2)} ×`)],
  ["pages", (s) => `${s.pages}`],
]);

/** @param {any} status @param {any} told what the page knows itself */
export function showNumbers(status, told) {
  const list = element("numbers");
  if (!list.children.length) {
    for (const [label] of NUMBERS) list.append(make("dt", label), make("dd", ""));
  }
  NUMBERS.forEach(([, text, warn], i) => {
    const cell = list.children[2 * i + 1];
    const shown = text(status, told);
    if (cell.textContent !== shown) cell.textContent = shown;
    cell.className = warn?.(status, told) ? "warn" : "";
  });
  const bar = element("age");
  bar.className = status.lag_ms > 1000 ? "old" : status.generator === "failed" ? "lost" : "new";
  element("pause").textContent = status.rate ? "❚❚" : "▶";
  element("record").classList.toggle("on", status.recording > 0);
  element("record").textContent = status.recording ? "stop" : "record";
  const badge = element("badge");
  badge.classList.toggle("recording", status.recording > 0);
  const replaying = status.generator === "replaying" ? `replaying ${(100 * status.replayed).toFixed(0)} %` : "";
  const doing = told.tooFast ? "turning faster than the model follows" : replaying;
  badge.textContent = status.recording ? `● ${status.recording} frames` : told.driver ? doing : "watching";
  element("wheel").textContent = told.driver ? "hand over the wheel" : "take the wheel";
  element("wheel").disabled = told.driver && status.pages < 2;
  document.body.classList.toggle("watching", !told.driver);
}

/** @param {number} frame @param {number} frames @param {number} fps */
export function showTime(frame, frames, fps) {
  const text = `${frame} of ${frames - 1} · ${(frame / fps).toFixed(2)} s`;
  if (element("frame").textContent === text) return; // a new text, even an equal one, lays the page out again
  const scrub = element("scrub");
  scrub.max = String(frames - 1);
  if (document.activeElement !== scrub) scrub.value = String(frame);
  element("frame").textContent = text;
}

/** @param {string[]} names @param {(name: string) => void} go */
export function showBookmarks(names, go) {
  const row = element("marks");
  const shown = [...row.querySelectorAll(".mark")].map((each) => each.textContent).join();
  if (shown === names.join()) return;
  row.querySelectorAll(".mark").forEach((/** @type {Element} */ each) => each.remove());
  for (const name of names) row.append(button(name, () => go(name), "mark"));
}

/** Show whether there is another branch to go to. @param {boolean} is */
export function showBranches(is) {
  element("swap").hidden = !is;
  const layer = [...element("layers").children].find((each) => each.textContent === "branches");
  if (layer) layer.hidden = !is;
}

/** The arrow to what the source camera looks at; null hides it. @param {number[] | null} towards right, down, forward */
export function showWayBack(towards) {
  const arrow = element("back");
  arrow.style.display = towards ? "block" : "none";
  if (!towards) return;
  const angle = Math.atan2(towards[1], towards[0]);
  arrow.style.left = `calc(${50 + 38 * Math.cos(angle)}% - 20px)`;
  arrow.style.top = `calc(${50 + 34 * Math.sin(angle)}% - 20px)`;
  arrow.style.transform = `rotate(${angle}rad)`;
}

/** @param {any[]} flights @param {Map<string, any> | null} videos their offline renders; null: none can be made @param {{render: Function, stop: Function, remove: Function, rename: Function, fly: Function}} act */
export function showFlights(flights, videos, act) {
  const list = element("flights");
  list.replaceChildren(
    ...flights.map((flight) => {
      const item = make("li", "");
      const video = videos?.get(flight.name);
      const rendering = video?.status === "queued" || video?.status === "in_progress";
      item.append(make("b", flight.name), ` ${flight.frames} frames `);
      const links = make("div", "");
      for (const [text, url] of [["txt", flight.url], ["gltf", flight.gltf], ...(video?.status === "completed" ? [["video", `v1/videos/${flight.name}/content`]] : [])]) {
        const link = /** @type {HTMLAnchorElement} */ (make("a", text));
        link.href = url;
        link.download = "";
        links.append(link);
      }
      item.append(links);
      if (rendering) {
        const bar = /** @type {HTMLProgressElement} */ (make("progress", ""));
        bar.max = 100;
        bar.value = video.progress;
        item.append(bar);
      }
      if (video?.error) item.append(Object.assign(make("div", video.error.message), { className: "bad" }));
      const row = Object.assign(make("div", ""), { className: "row" });
      row.append(button("replay", () => act.fly(flight)));
      if (videos) {
        row.append(rendering ? button("stop", () => act.stop(flight.name)) : button("render", () => act.render(flight.name)));
      }
      row.append(button("rename", () => act.rename(flight.name)), button("delete", () => act.remove(flight.name)));
      item.append(row);
      return item;
    }),
  );
}

/** @param {string[]} layers @param {(layer: string) => void} choose */
export function makeLayers(layers, choose) {
  element("layers").replaceChildren(...layers.map((name) => button(name, () => choose(name), name)));
}

/** @param {string} layer */
export function showLayer(layer) {
  for (const each of element("layers").children) each.classList.toggle("on", each.textContent === layer);
}

/** @param {{shown: string, help: string, group: string}[]} table */
export function makeHelp(table) {
  const rows = [];
  let group = "";
  for (const row of table) {
    if (row.group !== group) rows.push(tableRow([make("th", row.group)]));
    group = row.group;
    rows.push(tableRow([make("td", row.shown), make("td", row.help)]));
  }
  element("keys").replaceChildren(...rows);
}

let hiding = 0;
/** @param {string} text @param {string} level */
export function notify(text, level) {
  const box = element("message");
  box.textContent = text;
  box.className = level;
  clearTimeout(hiding);
  hiding = window.setTimeout(() => (box.textContent = ""), 6000);
}

/** @param {string} tag @param {string} text */
function make(tag, text) {
  return Object.assign(document.createElement(tag), { textContent: text });
}

/** @param {HTMLElement[]} cells */
function tableRow(cells) {
  const row = make("tr", "");
  row.append(...cells);
  return row;
}

/** @param {string} text @param {() => void} press @param {string} [className] */
function button(text, press, className = "") {
  const made = /** @type {HTMLButtonElement} */ (make("button", text));
  made.className = className;
  made.onclick = press;
  return made;
}
