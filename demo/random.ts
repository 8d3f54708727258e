/** Reproducible random numbers: the same seed gives the same inputs in every browser. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0;
  }

  /** 32 random bits: a Weyl sequence through the finalizer of MurmurHash3. */
  bits(): number {
    this.#state = (this.#state + 0x9e3779b9) | 0;
    let bits = Math.imul(this.#state ^ (this.#state >>> 16), 0x85ebca6b);
    bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
    return (bits ^ (bits >>> 16)) >>> 0;
  }

  /** A whole number, 0 ≤ n < below. */
  int(below: number): number {
    return Math.floor((this.bits() / 2 ** 32) * below);
  }

  /** Close to N(0, 1): the sum of four bytes, which is quick enough for millions of numbers. */
  normal(): number {
    const bits = this.bits();
    const sum = (bits & 255) + ((bits >>> 8) & 255) + ((bits >>> 16) & 255) + (bits >>> 24);
    return (sum - 510) / BYTES_SUM_DEVIATION;
  }

  /** 0 ... count − 1 in random order. */
  permutation(count: number): Int32Array<ArrayBuffer> {
    const order = Int32Array.from({ length: count }, (_, i) => i);
    for (let last = count - 1; last > 0; last--) {
      const other = this.int(last + 1);
      [order[last], order[other]] = [order[other]!, order[last]!];
    }
    return order;
  }
}

const BYTES_SUM_DEVIATION = Math.sqrt((4 * (256 ** 2 - 1)) / 12);
