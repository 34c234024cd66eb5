// @ts-check
/** The messages of protocol.py, mirrored: their types with their keys, and the header of a picture. */

export const VERSION = 1;

/** What the page sends. Keys that may be left out end in "?". */
export const FROM_PAGE = {
  hello: ["version", "resume?"],
  pose: ["seq", "position", "quaternion", "velocity", "turn", "follow"],
  time: ["rate?", "seek?", "step?"],
  view: ["layer"],
  ack: ["frame", "seen"],
  codec: ["codec"],
  record: ["action", "name?", "to?"],
  bookmark: ["action", "name"],
  swap: [],
  pick: ["seq", "x", "y"],
  clip: [],
  prompt: ["text"],
  wheel: ["action"],
  restart: [],
  ping: ["t"],
};

/** What the server sends, apart from pictures. */
export const TO_PAGE = {
  welcome: ["version", "resume", "driver", "generator", "reads_prompt", "max_turn", "can_render", "codecs", "scene", "state", "controls"],
  status: ["display_fps", "generated_fps", "block_ms", "block_frames", "lag_ms", "coverage", "source_frame", "rate",
    "centre_depth", "generator", "replayed", "recording", "driver", "pages", "bookmarks", "branches"],
  notice: ["level", "text"],
  moved: ["state"],
  picked: ["seq", "point"],
  flights: ["flights"],
  clip: ["url", "seconds"],
  pong: ["t"],
  error: ["code", "text"],
  bye: ["reason", "retry"],
};

/** Throws unless a message has exactly the keys of its type.
 * @param {Record<string, any>} message @param {Record<string, string[]>} table */
export function check(message, table) {
  const keys = table[message.type];
  if (!keys) throw new Error(`unknown message ${message.type}`);
  for (const key of Object.keys(message)) {
    if (key !== "type" && !keys.includes(key) && !keys.includes(`${key}?`)) throw new Error(`${message.type}.${key}: unknown`);
  }
  for (const key of keys) if (!key.endsWith("?") && !(key in message)) throw new Error(`${message.type}.${key}: missing`);
  return message;
}

/** How a picture is coded: `codec` of its header. */
export const CODECS = { JPEG: 0, H264_KEY: 1, H264_DELTA: 2 };

export const HEADER_SIZE = 68;

/** The header of a picture, whose bytes begin at HEADER_SIZE. @param {ArrayBuffer} buffer */
export function unpack(buffer) {
  const data = new DataView(buffer);
  const floats = (/** @type {number} */ at, /** @type {number} */ count) =>
    Array.from({ length: count }, (_, i) => data.getFloat32(at + 4 * i, true));
  const [frame, seq, generated, answers] = [4, 8, 12, 16].map((at) => data.getUint32(at, true));
  const [sourceFrame, coverage, ageMs] = floats(20, 3);
  return {
    kind: data.getUint8(0), codec: data.getUint8(1), flags: data.getUint16(2, true),
    frame, seq, generated, answers, sourceFrame, coverage, ageMs,
    serverTime: data.getFloat64(32, true), position: floats(40, 3), quaternion: floats(52, 4),
  };
}
