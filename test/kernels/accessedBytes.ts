import type { Dispatch } from '../../src/core/dispatch.js';
import { workgroupSizeOf } from '../../src/wgsl/reflection.js';
import { Accesses } from '../wgslOnCpu/memory.js';
import { interpret, type HostBuffers } from './interpreter.js';

/** Bytes of each binding that a dispatch reads and writes. */
export interface AccessedBytes {
  readonly dispatch: Dispatch;
  /** By all invocations. */
  readonly all: ReadonlyMap<string, number>;
  /** Each byte once for a workgroup. */
  readonly distinct: ReadonlyMap<string, number>;
}

/** Runs a dispatch on the CPU, on what others left in the buffers, and counts what it accesses. */
export function accessedBytes(dispatch: Dispatch, buffers: HostBuffers): AccessedBytes {
  const all = new Map<string, number>();
  const words = new Map<string, Set<string>>();
  const workgroupSize = workgroupSizeOf(dispatch);
  const record = Accesses.prototype.record;
  Accesses.prototype.record = function (this: Accesses, ...access) {
    const [memory, offset, size] = access;
    all.set(memory, (all.get(memory) ?? 0) + size);
    const seen = words.get(memory) ?? new Set();
    words.set(memory, seen);
    const workgroup = Math.floor(this.currentInvocation / workgroupSize);
    for (let word = offset; word < offset + size; word += 4) seen.add(`${workgroup}:${word}`);
    record.apply(this, access);
  };
  try {
    interpret(dispatch, buffers);
  } finally {
    Accesses.prototype.record = record;
  }
  return { dispatch, all, distinct: new Map(Array.from(words, ([memory, seen]) => [memory, 4 * seen.size])) };
}
