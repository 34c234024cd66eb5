// @ts-check
/** Keys, mouse, touch and gamepad to what the camera wants; single presses to actions. The table comes from the server. */

const MOUSE_TURN = 0.0022; // radians a pixel
const DEAD = 0.12; // of a gamepad's stick
const STICK = 60; // pixels of a full touch stick
/** Axes that actions push: [move or look, index, sign]. */
const AXES = /** @type {Record<string, [string, number, number]>} */ ({
  left: ["move", 0, -1], right: ["move", 0, 1], up: ["move", 1, -1], down: ["move", 1, 1], back: ["move", 2, -1], forward: ["move", 2, 1],
  turn_left: ["look", 0, -1], turn_right: ["look", 0, 1], turn_down: ["look", 1, -1], turn_up: ["look", 1, 1],
});

export class Controls {
  /** @param {HTMLElement} stage @param {HTMLElement} stick @param {import("./camera.js").Camera} camera
   * @param {(action: string, key: string) => void} act @param {() => void} wake called when there is something to do */
  constructor(stage, stick, camera, act, wake) {
    this.stage = stage;
    this.stick = stick;
    this.camera = camera;
    this.act = act;
    this.wake = wake;
    this.held = new Set();
    this.keys = /** @type {Record<string, string>} */ ({});
    this.touches = new Map();
    this.touchMove = [0, 0, 0];
    this.cursor = [0.5, 0.5];
    this.padButtons = /** @type {boolean[]} */ ([]);
    stage.addEventListener("keydown", (event) => this.down(event));
    window.addEventListener("keyup", (event) => this.held.delete(this.keys[event.code]));
    for (const lost of ["blur", "pagehide"]) window.addEventListener(lost, () => this.release());
    document.addEventListener("visibilitychange", () => document.hidden && this.release());
    stage.addEventListener("blur", () => this.release());
    document.addEventListener("pointerlockchange", () => !document.pointerLockElement && this.held.clear());
    stage.addEventListener("pointerdown", (event) => this.press(event));
    stage.addEventListener("pointermove", (event) => this.drag(event));
    for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, (event) => this.lift(event));
    stage.addEventListener("click", (event) => this.click(event));
    stage.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    stage.addEventListener("contextmenu", (event) => event.preventDefault());
    window.addEventListener("gamepadconnected", () => this.wake());
  }

  /** @param {{action: string, keys: string[]}[]} table */
  setTable(table) {
    this.keys = Object.fromEntries(table.flatMap((row) => row.keys.map((key) => [key, row.action])));
  }

  /** Everything is let go of: keys that were down when the page lost the keyboard would be held for ever. */
  release() {
    this.held.clear();
    this.touches.clear();
    this.touchMove = [0, 0, 0];
    this.stick.style.display = "none";
  }

  /** @param {KeyboardEvent} event */
  down(event) {
    const action = this.keys[event.code];
    if (!action || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    if (event.repeat) return;
    if (action in AXES || action === "fast" || action === "slow") {
      this.held.add(action);
      this.wake();
    } else this.act(action, event.code);
  }

  /** @param {PointerEvent} event */
  press(event) {
    this.stage.focus();
    this.moved = 0;
    const box = this.stage.getBoundingClientRect();
    const left = event.clientX < box.left + box.width / 2;
    const kind = event.pointerType !== "touch" ? "look" : left && ![...this.touches.values()].some((each) => each.kind === "stick") ? "stick" : "look";
    this.touches.set(event.pointerId, { kind, x: event.clientX, y: event.clientY, fromX: event.clientX, fromY: event.clientY });
    if (kind === "stick") {
      const view = /** @type {HTMLElement} */ (this.stage.parentElement).getBoundingClientRect();
      this.stick.style.cssText = `display: block; left: ${event.clientX - view.left}px; top: ${event.clientY - view.top}px`;
    }
    if (event.isTrusted) this.stage.setPointerCapture(event.pointerId);
    this.wake();
  }

  /** @param {PointerEvent} event */
  drag(event) {
    const box = this.stage.getBoundingClientRect();
    this.cursor = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    if (document.pointerLockElement === this.stage) {
      this.turn(event.movementX, event.movementY);
      return;
    }
    const touch = this.touches.get(event.pointerId);
    if (!touch) return;
    const [dx, dy] = [event.clientX - touch.x, event.clientY - touch.y];
    this.moved = (this.moved ?? 0) + Math.abs(dx) + Math.abs(dy);
    [touch.x, touch.y] = [event.clientX, event.clientY];
    if (touch.kind === "stick") {
      const push = (/** @type {number} */ by) => Math.min(Math.max(by / STICK, -1), 1);
      this.touchMove = [push(touch.x - touch.fromX), 0, -push(touch.y - touch.fromY)];
      const knob = /** @type {HTMLElement} */ (this.stick.firstElementChild);
      knob.style.transform = `translate(${this.touchMove[0] * STICK}px, ${-this.touchMove[2] * STICK}px)`;
      this.wake();
      return;
    }
    const looking = [...this.touches.values()].filter((each) => each.kind === "look");
    if (looking.length > 1) this.pinch(looking, dx, dy);
    else this.turn(-dx, -dy);
  }

  /** Two fingers: apart goes forward, both up or down rises or sinks. @param {any[]} pair @param {number} dx @param {number} dy */
  pinch(pair, dx, dy) {
    const spread = Math.hypot(pair[0].x - pair[1].x, pair[0].y - pair[1].y);
    const change = this.spread ? spread - this.spread : 0;
    this.spread = spread;
    const far = (this.camera.pace * 2) / this.stage.clientHeight;
    const level = this.camera.levelled([0, dy * far * 0.5, change * far]);
    this.camera.position = [this.camera.position[0] + level[0], this.camera.position[1] + level[1], this.camera.position[2] + level[2]];
    this.nudged = true;
    this.wake();
  }

  /** @param {PointerEvent} event */
  lift(event) {
    if (this.touches.get(event.pointerId)?.kind === "stick") {
      this.touchMove = [0, 0, 0];
      this.stick.style.display = "none";
    }
    this.touches.delete(event.pointerId);
    this.spread = 0;
    this.wake();
  }

  /** A click without a drag locks the pointer. @param {MouseEvent} event */
  click(event) {
    const mouse = /** @type {PointerEvent} */ (event).pointerType === "mouse";
    if (!mouse || (this.moved ?? 0) > 4 || document.pointerLockElement) return;
    /** @type {any} */ (this.stage.requestPointerLock?.())?.catch?.(() => {});
  }

  /** @param {WheelEvent} event */
  wheel(event) {
    event.preventDefault();
    if (this.camera.pivot) {
      this.camera.dolly(1.1 ** Math.sign(event.deltaY));
      this.nudged = true;
      return this.wake();
    }
    this.camera.speed = Math.min(Math.max(this.camera.speed * 1.15 ** -Math.sign(event.deltaY), 0.05), 20);
    this.act("speed", "");
  }

  /** The mouse turns at once, without smoothing. @param {number} dx @param {number} dy pixels */
  turn(dx, dy) {
    if (this.camera.pivot) this.camera.orbit(dx * MOUSE_TURN, -dy * MOUSE_TURN);
    else this.camera.look(dx * MOUSE_TURN, -dy * MOUSE_TURN);
    this.camera.homing = false;
    this.nudged = true;
    this.wake();
  }

  /** What is wanted now: move right, down, forward; look right, up. */
  wanted() {
    const axes = /** @type {Record<string, number[]>} */ ({ move: [...this.touchMove], look: [0, 0] });
    for (const action of this.held) {
      if (action in AXES) axes[AXES[action][0]][AXES[action][1]] += AXES[action][2];
    }
    const pad = this.gamepad(axes);
    const pace = (this.held.has("fast") ? 4 : 1) * (this.held.has("slow") ? 0.25 : 1);
    return { move: axes.move, look: axes.look, pace, pad };
  }

  /** Add what the first gamepad pushes; press its buttons. @param {Record<string, number[]>} axes @returns {boolean} whether there is one */
  gamepad(axes) {
    const pad = navigator.getGamepads?.().find(Boolean);
    if (!pad) return false;
    const squared = (/** @type {number} */ value) => {
      const beyond = Math.max(Math.abs(value) - DEAD, 0) / (1 - DEAD);
      return Math.sign(value) * beyond * beyond;
    };
    const [x, y, lookX, lookY] = pad.axes.map(squared);
    axes.move[0] += x ?? 0;
    axes.move[2] -= y ?? 0;
    axes.move[1] += (pad.buttons[6]?.value ?? 0) - (pad.buttons[7]?.value ?? 0);
    axes.look[0] += 3 * (lookX ?? 0);
    axes.look[1] -= 3 * (lookY ?? 0);
    const pressed = pad.buttons.map((each) => each.pressed);
    for (const [button, action] of [[0, "pause"], [2, "record"], [3, "home"]]) {
      if (pressed[/** @type {number} */ (button)] && !this.padButtons[/** @type {number} */ (button)]) this.act(String(action), "");
    }
    this.padButtons = pressed;
    return true;
  }
}
