// @ts-check
/** Offline renders of flights, over HTTP in the shape of OpenAI's videos. The server says by a `flights` message when
 * to ask again, so nothing is asked while nothing changes. */

const PATH = "v1/videos";

export class Videos {
  /** @param {() => void} onChange @param {(reason: string) => void} onError */
  constructor(onChange, onError) {
    this.onChange = onChange;
    this.onError = onError;
    this.found = /** @type {Map<string, any>} */ (new Map());
    this.asking = false;
    this.again = false;
  }

  /** Ask for all videos; where one asks already, once more after that. */
  async refresh() {
    this.again = true;
    if (this.asking) return;
    this.asking = true;
    while (this.again) {
      this.again = false;
      const list = await this.ask("GET", PATH);
      if (!list) continue;
      this.found = new Map(list.data.map((/** @type {any} */ video) => [video.id, video]));
      this.onChange();
    }
    this.asking = false;
  }

  /** @param {string} flight */
  start(flight) {
    return this.ask("POST", PATH, { flight });
  }

  /** @param {string} id */
  remove(id) {
    return this.ask("DELETE", `${PATH}/${id}`);
  }

  /** @param {string} method @param {string} path @param {any} [body] @returns {Promise<any>} the answer; null after an error */
  async ask(method, path, body) {
    const headers = { "Content-Type": "application/json" };
    try {
      const response = await fetch(path, body ? { method, headers, body: JSON.stringify(body) } : { method });
      const answer = await response.json();
      if (response.ok) return answer;
      this.onError(answer.error.message);
    } catch (error) {
      this.onError(String(error));
    }
    return null;
  }
}
