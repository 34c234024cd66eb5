// @ts-check
/** The person's camera: keys, mouse, sticks to a pose. OpenCV axes: x right, y down, z forward.
 *
 * It lives in the world, or with `follow` relative to the source camera of the moment. Turning keeps the horizon: yaw
 * is about the vertical axis, pitch about the camera's own. Velocities approach what is wanted within SMOOTHING, from
 * real time, so the speed does not depend on how often it is called. */

/** @typedef {[number, number, number]} Vector @typedef {[number, number, number, number]} Quaternion w x y z */

export const SPEED = 0.35; // foreground depths a second
export const TURN = (18 * Math.PI) / 180; // radians a second, by keys
export const SMOOTHING = 0.08; // seconds
const MOST_PITCH = (80 * Math.PI) / 180;
const HOME_SECONDS = 0.35;
const STILL = 1e-4;
export const WALL = 0.25; // share of the picture that the source must show; beyond it, flying further gets slower
const LEAST_PACE = 0.1; // of the pace, at the wall

/** @param {Quaternion} a @param {Quaternion} b @returns {Quaternion} */
export function multiply([a, b, c, d], [e, f, g, h]) {
  return [a * e - b * f - c * g - d * h, a * f + b * e + c * h - d * g, a * g - b * h + c * e + d * f, a * h + b * g - c * f + d * e];
}

/** @param {Quaternion} q @returns {Quaternion} */
export const conjugate = ([w, x, y, z]) => [w, -x, -y, -z];

/** @param {Quaternion} q @param {Vector} v @returns {Vector} */
export function rotate(q, v) {
  const [, x, y, z] = multiply(multiply(q, [0, ...v]), conjugate(q));
  return [x, y, z];
}

/** @param {Vector} axis @param {number} angle @returns {Quaternion} */
export const about = (axis, angle) =>
  [Math.cos(angle / 2), ...axis.map((each) => each * Math.sin(angle / 2))].slice(0, 4);

/** @param {Quaternion} q @returns {Quaternion} */
const unit = (q) => /** @type {Quaternion} */ (q.map((each) => each / Math.hypot(...q)));
/** @param {Vector} a @param {Vector} b @param {number} [scale] @returns {Vector} */
export const plus = (a, b, scale = 1) => [a[0] + scale * b[0], a[1] + scale * b[1], a[2] + scale * b[2]];

export class Camera {
  constructor() {
    this.position = /** @type {Vector} */ ([0, 0, 0]);
    this.quaternion = /** @type {Quaternion} */ ([1, 0, 0, 0]);
    this.follow = true;
    this.foreground = 1;
    this.centreDepth = 1;
    this.speed = 1; // a factor that the wheel changes
    this.velocity = /** @type {Vector} */ ([0, 0, 0]); // camera axes, scene units a second
    this.turn = [0, 0]; // yaw to the right and pitch up, radians a second
    this.pivot = /** @type {Vector | null} */ (null);
    this.homing = false;
    this.coverage = 1; // the share of the picture that the source shows
    this.source = { position: /** @type {Vector} */ ([0, 0, 0]), quaternion: /** @type {Quaternion} */ ([1, 0, 0, 0]) };
  }

  /** Scene units a second: slower near things, so that flying at a wall ends softly. */
  get pace() {
    const near = Math.min(Math.max(this.centreDepth / this.foreground, 0.15), 3);
    return SPEED * this.foreground * near * this.speed;
  }

  /** Advance by dt seconds. @param {number} dt @param {{move: number[], look: number[], pace: number}} wanted
   * move: right, down, forward, each -1..1; look: right, up; @returns {boolean} whether it moved or is about to */
  step(dt, wanted) {
    const share = 1 - Math.exp(-dt / SMOOTHING);
    const pace = this.pace * wanted.pace;
    const drag = this.drag(wanted);
    for (let i = 0; i < 3; i++) this.velocity[i] += share * (wanted.move[i] * pace * drag.move - this.velocity[i]);
    for (let i = 0; i < 2; i++) this.turn[i] += share * (wanted.look[i] * TURN * drag.look[i] - this.turn[i]);
    const slow = STILL * this.foreground;
    if (Math.hypot(...this.velocity) < slow && !wanted.move.some(Boolean)) this.velocity = [0, 0, 0];
    if (Math.hypot(...this.turn) < STILL && !wanted.look.some(Boolean)) this.turn = [0, 0];
    const asked = wanted.move.some(Boolean) || wanted.look.some(Boolean); // already, though nothing moves yet
    const moving = asked || this.velocity.some(Boolean) || this.turn.some(Boolean);
    if (moving) this.homing = false;
    if (this.homing) return this.easeHome(dt);
    if (!moving) return false;
    if (this.pivot) {
      const radius = Math.max(Math.hypot(...plus(this.position, this.pivot, -1)), 1e-3);
      this.orbit(((-this.velocity[0] / radius) - this.turn[0]) * dt, (-this.velocity[1] / radius + this.turn[1]) * dt);
      this.position = plus(this.position, rotate(this.quaternion, [0, 0, this.velocity[2] * dt]));
    } else {
      this.look(this.turn[0] * dt, this.turn[1] * dt);
      this.position = plus(this.position, this.levelled(this.velocity), dt);
    }
    return true;
  }

  /** What the source camera looks at, from this camera: right, down, forward. @returns {Vector} */
  get towardsSource() {
    const { position, quaternion } = this.follow ? { position: [0, 0, 0], quaternion: [1, 0, 0, 0] } : this.source;
    const ahead = plus(/** @type {Vector} */ (position), rotate(/** @type {Quaternion} */ (quaternion), [0, 0, this.foreground]));
    return rotate(conjugate(this.quaternion), plus(ahead, this.position, -1));
  }

  /** The soft wall: where the source shows little, what leads further away from it is slowed, and nothing else.
   * @param {{move: number[], look: number[]}} wanted */
  drag(wanted) {
    if (this.coverage >= WALL) return { move: 1, look: [1, 1] };
    const slow = Math.max(this.coverage / WALL, LEAST_PACE);
    const [x, y, z] = this.towardsSource;
    const home = rotate(conjugate(this.quaternion), plus(this.position, this.follow ? [0, 0, 0] : this.source.position, -1));
    const leaves = wanted.move[0] * home[0] + wanted.move[1] * home[1] + wanted.move[2] * home[2] > 0;
    const away = [wanted.look[0] * Math.atan2(x, z) < 0, wanted.look[1] * Math.atan2(-y, Math.hypot(x, z)) < 0];
    return { move: leaves ? slow : 1, look: away.map((each) => (each ? slow : 1)) };
  }

  /** Camera velocity in the rig's axes: up and down are vertical, the rest follows the camera. @param {Vector} v @returns {Vector} */
  levelled([x, y, z]) {
    return plus(rotate(this.quaternion, [x, 0, z]), [0, y, 0]);
  }

  /** Turn by angles in radians: to the right, and up. @param {number} yaw @param {number} pitch */
  look(yaw, pitch) {
    const forward = rotate(this.quaternion, [0, 0, 1]);
    const now = Math.asin(Math.min(Math.max(-forward[1], -1), 1));
    const up = Math.min(Math.max(now + pitch, -MOST_PITCH), MOST_PITCH) - now;
    this.quaternion = unit(multiply(multiply(about([0, 1, 0], yaw), this.quaternion), about([1, 0, 0], up)));
  }

  /** Turn about the pivot: positive yaw moves the camera to the left. @param {number} yaw @param {number} pitch */
  orbit(yaw, pitch) {
    if (!this.pivot) return;
    const before = this.quaternion;
    this.look(yaw, pitch);
    const change = multiply(this.quaternion, conjugate(before));
    this.position = plus(this.pivot, rotate(change, plus(this.position, this.pivot, -1)));
  }

  /** Go nearer to the pivot, or further: to so many times the distance. @param {number} factor */
  dolly(factor) {
    if (this.pivot) this.position = plus(this.pivot, plus(this.position, this.pivot, -1), factor);
  }

  /** @param {number} dt */
  easeHome(dt) {
    const share = 1 - Math.exp(-dt / HOME_SECONDS);
    this.position = plus(this.position, this.position, -share);
    const [w, ...v] = this.quaternion;
    const sign = w < 0 ? -1 : 1;
    this.quaternion = unit([sign * w + share * (1 - sign * w), ...v.map((each) => sign * each * (1 - share))].slice(0, 4));
    const far = Math.hypot(...this.position) / this.foreground + Math.hypot(...this.quaternion.slice(1));
    if (far < 1e-3) {
      this.position = [0, 0, 0];
      this.quaternion = [1, 0, 0, 0];
      this.homing = false;
    }
    return true;
  }

  /** Back to the source camera, and with it from now on. */
  goHome(/** @type {{position: Vector, quaternion: Quaternion}} */ source) {
    if (!this.follow) this.setFollow(true, source);
    this.pivot = null;
    this.homing = true;
  }

  /** Follow the source camera or stay in the world; the picture does not change. @param {boolean} follow
   * @param {{position: Vector, quaternion: Quaternion}} source the source camera of the moment */
  setFollow(follow, source) {
    if (follow === this.follow) return;
    const into = (/** @type {Vector} */ point) => this.relative(point, source, follow);
    this.position = into(this.position);
    this.quaternion = unit(multiply(follow ? conjugate(source.quaternion) : source.quaternion, this.quaternion));
    if (this.pivot) this.pivot = into(this.pivot);
    this.follow = follow;
  }

  /** A point of the world in the rig's axes, or (`inward` false) the other way. @param {Vector} point
   * @param {{position: Vector, quaternion: Quaternion}} source @param {boolean} inward @returns {Vector} */
  relative(point, source, inward) {
    if (inward) return rotate(conjugate(source.quaternion), plus(point, source.position, -1));
    return plus(source.position, rotate(source.quaternion, point));
  }

  /** The pose message of this moment. @param {number} seq */
  message(seq) {
    const level = rotate(conjugate(this.quaternion), [0, this.turn[0], 0]);
    const up = rotate(conjugate(this.quaternion), [0, this.velocity[1], 0]);
    const velocity = this.pivot ? this.velocity : plus([this.velocity[0], 0, this.velocity[2]], up);
    const turn = plus(level, [this.turn[1], 0, 0]);
    return { type: "pose", seq, position: this.position, quaternion: this.quaternion, velocity, turn, follow: this.follow };
  }
}
