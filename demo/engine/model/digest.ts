/** A name for bytes: others have another one. */
export class Digest {
  readonly #pieces: Promise<ArrayBuffer>[] = [];

  /** Takes the next piece, which may change afterwards. Where pieces end counts. */
  add(bytes: Uint8Array<ArrayBuffer>): void {
    // Browsers and Node compute it on another thread.
    this.#pieces.push(crypto.subtle.digest('SHA-256', bytes));
  }

  /** 16 hex digits. */
  async hex(): Promise<string> {
    const pieces = await Promise.all(this.#pieces);
    const all = await new Blob(pieces).arrayBuffer();
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', all)).subarray(0, 8);
    return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
  }
}
