// @ts-check
/** Pictures as they come to pictures that can be drawn: JPEG anywhere, H.264 where the page is a secure context. */
import { CODECS } from "./protocol.js";

const MOST_FAILURES = 3;

/** Whether this browser decodes H.264 here. @returns {Promise<boolean>} */
export async function decodesH264() {
  const Decoder = /** @type {any} */ (window).VideoDecoder; // there in secure contexts only
  if (!Decoder) return false;
  return (await Decoder.isConfigSupported({ codec: "avc1.4D401F", optimizeForLatency: true })).supported;
}

export class Pictures {
  /** @param {(reason: string, again: boolean) => void} onFailure called when H.264 could not be decoded; `again`: another
   * key picture may help */
  constructor(onFailure) {
    this.onFailure = onFailure;
    this.decoder = /** @type {any} */ (null);
    this.waiting = /** @type {Map<number, (frame: any) => void>} */ (new Map());
    this.failures = 0;
  }

  /** @param {any} header @param {Uint8Array<ArrayBuffer>} data @returns {Promise<any>} something to draw and close, with displayWidth
   * and displayHeight; null where it needs a picture that did not come */
  decode(header, data) {
    return header.codec === CODECS.JPEG ? still(data) : this.moving(header, data);
  }

  /** @param {any} header @param {Uint8Array} data */
  async moving(header, data) {
    const key = header.codec === CODECS.H264_KEY;
    if (!this.decoder && !key) return null;
    try {
      this.decoder ??= this.open(data);
      return await new Promise((resolve) => {
        this.waiting.set(header.frame, resolve);
        const type = key ? "key" : "delta";
        this.decoder.decode(new /** @type {any} */ (window).EncodedVideoChunk({ type, timestamp: header.frame, data }));
      });
    } catch (error) {
      this.fail(String(error));
      return null;
    }
  }

  /** A decoder for the stream that a key begins. @param {Uint8Array} data */
  open(data) {
    const decoder = new /** @type {any} */ (window).VideoDecoder({
      output: (/** @type {any} */ frame) => {
        const found = this.waiting.get(frame.timestamp);
        this.waiting.delete(frame.timestamp);
        if (found) found(frame);
        else frame.close();
      },
      error: (/** @type {any} */ error) => this.fail(error.message),
    });
    decoder.configure({ codec: codecOf(data), optimizeForLatency: true });
    return decoder;
  }

  /** @param {string} reason */
  fail(reason) {
    if (this.decoder && this.decoder.state !== "closed") this.decoder.close();
    this.decoder = null;
    for (const resolve of this.waiting.values()) resolve(null);
    this.waiting.clear();
    this.onFailure(reason, ++this.failures < MOST_FAILURES);
  }
}

/** The fast way where there is one; `ImageDecoder` needs a secure context. @param {Uint8Array<ArrayBuffer>} data @returns {Promise<any>} */
async function still(data) {
  const Decoder = /** @type {any} */ (window).ImageDecoder;
  if (Decoder) {
    const decoder = new Decoder({ data, type: "image/jpeg" });
    const { image } = await decoder.decode();
    decoder.close();
    return image;
  }
  const image = await createImageBitmap(new Blob([data], { type: "image/jpeg" }));
  return Object.assign(image, { displayWidth: image.width, displayHeight: image.height });
}

/** The codec's name for a decoder: profile, constraints and level from the sequence parameter set that a key begins with.
 * @param {Uint8Array} data */
function codecOf(data) {
  const at = data.findIndex((_, i) => data[i] === 0 && data[i + 1] === 0 && data[i + 2] === 1 && (data[i + 3] & 31) === 7);
  if (at < 0) throw new Error("the key picture has no parameter set");
  return `avc1.${[...data.subarray(at + 4, at + 7)].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}
