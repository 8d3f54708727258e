import { MemoryTracker } from 'wgsl_reflect/wgsl_reflect.module.js';

type Access = 'read' | 'write' | 'atomic';

const CONFLICTS: Readonly<Record<Access, readonly Access[]>> = {
  read: ['write', 'atomic'],
  write: ['read', 'write', 'atomic'],
  atomic: ['read', 'write'],
};

/** Stands for more than one invocation. */
const SEVERAL = -1;

/** Which invocations have accessed which words. */
export class Accesses extends MemoryTracker {
  /** By memory, word and kind of access. */
  readonly #invocations = new Map<string, Partial<Record<Access, number>>[]>();
  readonly #races = new Set<string>();

  override record(
    memory: string,
    offset: number,
    size: number,
    kind: 'read' | 'write',
    atomic: boolean,
  ): void {
    const access = atomic ? 'atomic' : kind;
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
