export type AccessKind = 'read' | 'write' | 'atomic';

const CONFLICTS: Readonly<Record<AccessKind, readonly AccessKind[]>> = {
  read: ['write', 'atomic'],
  write: ['read', 'write', 'atomic'],
  atomic: ['read', 'write'],
};

/** Stands for more than one invocation. */
const SEVERAL = -1;

/** Which invocations have accessed which words. */
export class Accesses {
  /** The one that runs. */
  currentInvocation = 0;
  /** By memory, word and kind of access. */
  readonly #invocations = new Map<string, Partial<Record<AccessKind, number>>[]>();
  readonly #races = new Set<string>();

  /** @param offset and size in bytes */
  record(memory: string, offset: number, size: number, access: AccessKind): void {
    const invocation = this.currentInvocation;
    let words = this.#invocations.get(memory);
    if (!words) this.#invocations.set(memory, (words = []));
    for (let word = Math.floor(offset / 4); word < (offset + size) / 4; word++) {
      const users = (words[word] ??= {});
      for (const other of CONFLICTS[access]) {
        if ((users[other] ?? invocation) === invocation) continue;
        this.#races.add(`${memory} word ${word}: ${access} beside ${other}`);
      }
      users[access] = (users[access] ?? invocation) === invocation ? invocation : SEVERAL;
    }
  }

  /** What was found since the last barrier, and starts anew. */
  takeRaces(): string[] {
    const races = [...this.#races];
    this.#races.clear();
    this.#invocations.clear();
    return races;
  }
}

/** What a variable of a module holds, where every access is noted. */
export class Memory {
  readonly name: string;
  readonly f32: Float32Array;
  readonly u32: Uint32Array;
  readonly i32: Int32Array;
  readonly #accesses: Accesses | undefined;

  /** @param accesses left out for uniforms, which nothing writes */
  constructor(name: string, bytes: ArrayBuffer, accesses?: Accesses) {
    const nWords = Math.floor(bytes.byteLength / 4);
    this.name = name;
    this.f32 = new Float32Array(bytes, 0, nWords);
    this.u32 = new Uint32Array(bytes, 0, nWords);
    this.i32 = new Int32Array(bytes, 0, nWords);
    this.#accesses = accesses;
  }

  /**
   * Notes an access.
   *
   * @throws RangeError if the bytes are not there
   */
  touch(offset: number, size: number, access: AccessKind): void {
    if (offset < 0 || offset + size > this.u32.byteLength) {
      const bytes = `bytes ${offset} to ${offset + size}`;
      throw new RangeError(
        `${this.name} has ${this.u32.byteLength} bytes, so there is no ${access} of ${bytes}.`,
      );
    }
    this.#accesses?.record(this.name, offset, size, access);
  }
}
