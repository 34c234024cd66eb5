// @ts-check
/** The connection to the server: messages, pictures, and coming back after it was lost. */
import { FROM_PAGE, HEADER_SIZE, TO_PAGE, VERSION, check, unpack } from "./protocol.js";

const LONGEST_WAIT = 5000;

export class Net {
  /** @param {(message: any) => void} onMessage @param {(header: any, data: Uint8Array<ArrayBuffer>) => Promise<void>} onPicture
   * @param {(connected: boolean, turnedAway?: boolean) => void} onState told when the connection comes and goes;
   * `turnedAway`: a server is there, but does not know this page */
  constructor(onMessage, onPicture, onState) {
    this.onMessage = onMessage;
    this.onPicture = onPicture;
    this.onState = onState;
    this.resume = sessionStorage.getItem("resume");
    this.wait = 250;
    this.bytes = 0;
    this.gone = false;
    this.connect();
  }

  connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/live`);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    socket.onopen = () => {
      this.wait = 250;
      this.send(this.resume ? { type: "hello", version: VERSION, resume: this.resume } : { type: "hello", version: VERSION });
    };
    socket.onmessage = (event) => (typeof event.data === "string" ? this.text(event.data) : this.picture(event.data));
    socket.onclose = async () => {
      this.onState(false, await turnedAway());
      if (!this.gone) setTimeout(() => this.connect(), this.wait);
      this.wait = Math.min(2 * this.wait, LONGEST_WAIT);
    };
  }

  get connected() {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  /** @param {Record<string, any>} message */
  send(message) {
    if (this.connected) this.socket?.send(JSON.stringify(check(message, FROM_PAGE)));
  }

  /** @param {string} data */
  text(data) {
    const message = check(JSON.parse(data), TO_PAGE);
    if (message.type === "welcome") {
      this.resume = message.resume;
      sessionStorage.setItem("resume", message.resume);
      this.onState(true);
    }
    if (message.type === "bye") this.gone = !message.retry;
    this.onMessage(message);
  }

  /** @param {ArrayBuffer} data */
  async picture(data) {
    const began = performance.now();
    const header = unpack(data);
    this.bytes += data.byteLength;
    try {
      await this.onPicture(header, new Uint8Array(data, HEADER_SIZE));
    } finally {
      this.send({ type: "ack", frame: header.frame, seen: performance.now() - began });
    }
  }
}

/** Whether a server answers that does not know this page's token: it was started again. */
async function turnedAway() {
  try {
    return (await fetch("icon.svg")).status === 403;
  } catch {
    return false; // nobody answers
  }
}
