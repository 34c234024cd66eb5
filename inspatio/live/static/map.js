// @ts-check
/** The map from above: source path, flown path, the camera and where it is heading. */

const LONGEST = 2000;
const HUES = 6; // degrees between the colours of the flown path

export class FlightMap {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    this.source = /** @type {number[][]} */ ([]);
    this.flown = /** @type {{x: number, y: number, z: number, coverage: number}[]} */ ([]);
    this.due = false;
  }

  /** @param {any} scene */
  setScene(scene) {
    this.scene = scene;
    this.source = scene.source_path;
    this.flown = [];
  }

  /** A picture was shown from here. @param {any} header @param {{velocity: number[], rotate: (v: any) => any}} motion */
  shown(header, motion) {
    const [x, y, z] = header.position;
    const last = this.flown[this.flown.length - 1];
    if (!last || Math.hypot(x - last.x, z - last.z) > 0.004 * this.scene.foreground) {
      this.flown.push({ x, y, z, coverage: header.coverage });
      if (this.flown.length > LONGEST) this.flown.shift();
    }
    this.now = header;
    this.motion = motion;
    if (!this.due) {
      this.due = true;
      setTimeout(() => this.draw(), 100);
    }
  }

  draw() {
    this.due = false;
    const pen = this.canvas.getContext("2d");
    if (!pen || !this.scene || !this.now) return;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [this.canvas.clientWidth * ratio, this.canvas.clientHeight * ratio];
    if (this.canvas.width !== width || this.canvas.height !== height) [this.canvas.width, this.canvas.height] = [width, height];
    const [x, , z] = this.now.position;
    const reach = Math.max(...this.source.map((p) => Math.hypot(p[0], p[2])), Math.hypot(x, z), 1.2 * this.scene.foreground);
    const scale = (0.42 * Math.min(width, height)) / reach;
    const at = (/** @type {number} */ a, /** @type {number} */ b) => /** @type {const} */ ([width / 2 + a * scale, 0.66 * height - b * scale]);
    pen.clearRect(0, 0, width, height);
    pen.lineWidth = 1.5 * ratio;
    const line = (/** @type {number[][]} */ points, /** @type {string} */ colour, /** @type {number[]} */ dash) => {
      pen.strokeStyle = colour;
      pen.setLineDash(dash);
      pen.beginPath();
      points.forEach(([a, b], i) => (i ? pen.lineTo(...at(a, b)) : pen.moveTo(...at(a, b))));
      pen.stroke();
      pen.setLineDash([]);
    };
    line(this.source.map((p) => [p[0], p[2]]), "#7f8b99", []);
    // One stroke for as long as the colour stays: a stroke to each step would cost more the longer one flies.
    const hue = (/** @type {{coverage: number}} */ point) => HUES * Math.round((120 * point.coverage ** 2) / HUES);
    for (let i = 1, start = 0; i < this.flown.length; i++) {
      const next = this.flown[i + 1];
      if (next && hue(next) === hue(this.flown[i])) continue;
      line(this.flown.slice(start, i + 1).map((p) => [p.x, p.z]), `hsl(${hue(this.flown[i])} 70% 55%)`, []);
      start = i;
    }
    const forward = this.motion?.rotate([0, 0, 1]) ?? [0, 0, 1];
    const angle = Math.atan2(forward[0], forward[2]);
    const half = Math.atan(this.scene.size[1] / 2 / this.scene.focal);
    const far = 0.35 * reach;
    pen.fillStyle = "#6fb3ff33";
    pen.strokeStyle = "#6fb3ff";
    pen.beginPath();
    pen.moveTo(...at(x, z));
    for (const side of [-half, half]) pen.lineTo(...at(x + far * Math.sin(angle + side), z + far * Math.cos(angle + side)));
    pen.closePath();
    pen.fill();
    pen.stroke();
    if (this.motion?.velocity.some(Boolean)) {
      const v = this.motion.rotate(this.motion.velocity);
      line([[x, z], [x + v[0], z + v[2]]], "#ffb454", [4 * ratio, 3 * ratio]);
    }
    pen.fillStyle = "#fff";
    pen.beginPath();
    pen.arc(...at(x, z), 3 * ratio, 0, 7);
    pen.fill();
  }
}
