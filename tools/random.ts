/** Reproducible random numbers: mulberry32, the same sequence for the same seed on every platform. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0;
  }

  /** Uniform in [low, high). */
  uniform(low = 0, high = 1): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let bits = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return low + (((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32) * (high - low);
  }

  /** A uniform integer, low ≤ n < high. */
  int(low: number, high: number): number {
    return Math.floor(this.uniform(low, high));
  }

  boolean(): boolean {
    return this.uniform() < 0.5;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.int(0, items.length)]!;
  }

  /** N(0, 1), by Box and Muller. */
  normal(): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    return radius * Math.cos(2 * Math.PI * this.uniform());
  }

  normals(count: number): Float32Array<ArrayBuffer> {
    const values = new Float32Array(count);
    for (let i = 0; i < count; i++) values[i] = this.normal();
    return values;
  }

  uniforms(count: number, low = 0, high = 1): Float32Array<ArrayBuffer> {
    const values = new Float32Array(count);
    for (let i = 0; i < count; i++) values[i] = this.uniform(low, high);
    return values;
  }

  /** 0 ... count − 1 in random order. */
  permutation(count: number): Int32Array<ArrayBuffer> {
    const order = Int32Array.from({ length: count }, (_, i) => i);
    for (let last = count - 1; last > 0; last--) {
      const other = this.int(0, last + 1);
      [order[last], order[other]] = [order[other]!, order[last]!];
    }
    return order;
  }
}
