// @ts-check
/** The scene's points, the source's path and the flight in space, by plain WebGL2, where the browser has it. */
import { conjugate, multiply, about, rotate } from "./camera.js";

const VERTEX = `#version 300 es
uniform mat4 view; uniform float scale, size;
in vec3 place; in vec3 colour; out vec3 shade;
void main() { gl_Position = view * vec4(place * scale, 1.0); gl_PointSize = size; shade = colour; }`;
const FRAGMENT = `#version 300 es
precision mediump float; in vec3 shade; out vec4 pixel;
void main() { pixel = vec4(shade, 1.0); }`;
const FOCAL = 1.6;
const GREY = [0.5, 0.55, 0.6], GREEN = [0.4, 0.85, 0.45], BLUE = [0.44, 0.7, 1];

export class SpaceView {
  /** @param {HTMLCanvasElement} canvas @param {import("./map.js").FlightMap} map which keeps the flown path */
  constructor(canvas, map) {
    this.canvas = canvas;
    this.map = map;
    this.gl = canvas.getContext("webgl2", { antialias: false });
    this.yaw = 0;
    this.pitch = -0.5; // radians, looking down
    this.far = 2.2; // foreground depths behind the camera
    this.count = 0;
    this.due = false;
    if (!this.gl) return;
    this.program = this.link(this.gl);
    canvas.addEventListener("pointermove", (event) => {
      if (!event.buttons) return;
      this.yaw += event.movementX * 0.01;
      this.pitch = Math.min(Math.max(this.pitch - event.movementY * 0.01, -1.5), 0.3);
      this.soon();
    });
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.far = Math.min(Math.max(this.far * 1.15 ** Math.sign(event.deltaY), 0.3), 20);
      this.soon();
    }, { passive: false });
  }

  get open() {
    return !this.canvas.hidden;
  }

  /** @param {WebGL2RenderingContext} gl */
  link(gl) {
    const program = /** @type {WebGLProgram} */ (gl.createProgram());
    for (const [kind, text] of /** @type {[number, string][]} */ ([[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]])) {
      const shader = /** @type {WebGLShader} */ (gl.createShader(kind));
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.bindAttribLocation(program, 0, "place");
    gl.bindAttribLocation(program, 1, "colour");
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(String(gl.getProgramInfoLog(program)));
    return program;
  }

  /** Open or close it; the points are fetched when it is opened first. */
  async toggle() {
    this.canvas.hidden = !this.canvas.hidden;
    if (!this.open || !this.gl) return;
    if (!this.points) {
      const data = await (await fetch("points.bin")).arrayBuffer();
      this.count = (data.byteLength - 4) / 9;
      this.scale = new DataView(data).getFloat32(0, true);
      const { gl } = this;
      this.points = gl.createBuffer();
      gl.bindBuffer(gl.ARRAY_BUFFER, this.points);
      gl.bufferData(gl.ARRAY_BUFFER, new Uint8Array(data, 4), gl.STATIC_DRAW);
      this.lines = gl.createBuffer();
    }
    this.soon();
  }

  /** Draw in a moment, if it is open. */
  soon() {
    if (this.due || !this.open) return;
    this.due = true;
    setTimeout(() => this.draw(), 100);
  }

  draw() {
    this.due = false;
    const { gl, map, canvas } = this;
    if (!gl || !this.points || !map.now || !this.program) return;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth * ratio, canvas.clientHeight * ratio];
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    gl.viewport(0, 0, width, height);
    gl.clearColor(0.047, 0.063, 0.078, 1);
    gl.enable(gl.DEPTH_TEST);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.useProgram(this.program);
    const view = gl.getUniformLocation(this.program, "view");
    const scale = gl.getUniformLocation(this.program, "scale");
    gl.uniformMatrix4fv(view, false, this.matrix(width / height));
    gl.uniform1f(gl.getUniformLocation(this.program, "size"), 2 * ratio);
    gl.uniform1f(scale, this.scale ?? 1);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.points);
    gl.enableVertexAttribArray(0);
    gl.enableVertexAttribArray(1);
    gl.vertexAttribPointer(0, 3, gl.SHORT, false, 6, 0);
    gl.vertexAttribPointer(1, 3, gl.UNSIGNED_BYTE, true, 3, 6 * this.count);
    gl.drawArrays(gl.POINTS, 0, this.count);
    gl.disableVertexAttribArray(1);
    gl.uniform1f(scale, 1);
    this.line(gl, map.source, GREY);
    this.line(gl, map.flown.map((p) => [p.x, p.y, p.z]), GREEN);
    this.line(gl, this.frustum(), BLUE);
  }

  /** @param {WebGL2RenderingContext} gl @param {number[][]} points @param {number[]} colour */
  line(gl, points, colour) {
    if (points.length < 2 || !this.lines) return;
    gl.bindBuffer(gl.ARRAY_BUFFER, this.lines);
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array(points.flat()), gl.STREAM_DRAW);
    gl.vertexAttribPointer(0, 3, gl.FLOAT, false, 0, 0);
    gl.vertexAttrib3f(1, colour[0], colour[1], colour[2]);
    gl.drawArrays(gl.LINE_STRIP, 0, points.length);
  }

  /** The camera of now as one line: its picture's border and rays. @returns {number[][]} */
  frustum() {
    const { position, quaternion } = this.map.now;
    const [height, width] = this.map.scene.size;
    const deep = 0.25 * this.map.scene.foreground;
    const [x, y] = [width, height].map((side) => (deep * side) / 2 / this.map.scene.focal);
    const at = (/** @type {number} */ a, /** @type {number} */ b) => {
      const point = rotate(quaternion, [a * x, b * y, deep]);
      return point.map((each, i) => each + position[i]);
    };
    const [a, b, c, d] = [at(-1, -1), at(1, -1), at(1, 1), at(-1, 1)];
    return [position, a, b, position, c, d, position, a, d, c, b];
  }

  /** From the world to clip space (column-major): from behind and above the camera, on its heading. @param {number} aspect */
  matrix(aspect) {
    const { position, quaternion } = this.map.now;
    const forward = rotate(quaternion, [0, 0, 1]);
    const turn = multiply(about([0, 1, 0], Math.atan2(forward[0], forward[2]) + this.yaw), about([1, 0, 0], this.pitch));
    const back = rotate(turn, [0, 0, -this.far * this.map.scene.foreground]);
    const centre = rotate(turn, [0, 0, 0.5 * this.map.scene.foreground]);
    const eye = position.map((/** @type {number} */ each, /** @type {number} */ i) => each + back[i] + centre[i]);
    const [near, far] = [0.02, 200].map((each) => each * this.map.scene.foreground);
    const axes = [[1, 0, 0], [0, 1, 0], [0, 0, 1]].map((axis) => rotate(conjugate(turn), /** @type {any} */ (axis)));
    const shift = rotate(conjugate(turn), eye);
    const [deep, offset] = [(far + near) / (far - near), (-2 * far * near) / (far - near)];
    const column = (/** @type {number[]} */ [x, y, z], /** @type {number} */ w) => [(FOCAL * x) / aspect, -FOCAL * y, deep * z + w, z];
    return new Float32Array([...axes.flatMap((axis) => column(axis, 0)), ...column(shift.map((each) => -each), offset)]);
  }
}
