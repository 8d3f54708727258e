import { createRuntime, type AttnVarlenArgs, type AttnWithKvCacheArgs } from '../../src/index.js';
import { fakeTensor } from '../runtime/fakeDevice.js';
import { strictDevice } from '../runtime/strictDevice.js';

/** A runtime whose device records what is written to it, and what is bound. */
export function notedRuntime() {
  const strict = strictDevice();
  const writes: (readonly number[])[] = [];
  const held = new Map<GPUBuffer, Uint8Array>();
  const groups: (readonly GPUBufferBinding[])[] = [];
  const { queue, createBindGroup } = strict.device;
  const { writeBuffer } = queue;
  queue.writeBuffer = (buffer, offset, data) => {
    const { buffer: bytes, byteOffset, byteLength } = data as Uint8Array;
    const written = new Uint8Array(bytes, byteOffset, byteLength);
    writes.push([...written]);
    if (!held.has(buffer)) held.set(buffer, new Uint8Array(buffer.size));
    held.get(buffer)!.set(written, offset);
    writeBuffer(buffer, offset, data);
    return undefined;
  };
  strict.device.createBindGroup = (descriptor) => {
    groups.push(Array.from(descriptor.entries, ({ resource }) => resource as GPUBufferBinding));
    return createBindGroup(descriptor);
  };
  /** What was written, by buffer. */
  const contents = () => Array.from(held.values(), (bytes) => [...bytes]);
  return { ...strict, runtime: createRuntime(strict.device), writes, contents, groups };
}

/** The next step: sequences of 5 + 1 and 9 + 2 tokens in pages of 4, as `BlockAllocator.batch` returns it. */
export const BATCH = {
  nSequences: 2,
  nNewTokens: 3,
  blockTable: Int32Array.of(0, 1, -1, 4, 5, 3),
  tableWidth: 3,
  cacheSeqlens: Int32Array.of(5, 9),
  sequsedK: Int32Array.of(6, 11),
  cuSeqlensQ: Int32Array.of(0, 1, 3),
  cuSeqlensKNew: Int32Array.of(0, 1, 3),
  cacheBatchIdx: undefined,
  tokenPositions: Int32Array.of(5, 9, 10),
  slotMapping: Int32Array.of(5, 13, 14),
  maxSeqlenQ: 2,
  maxSeqlenK: 11,
};

export const STEP = {
  ...BATCH,
  sequences: Int32Array.of(7, 8),
  tokens: Int32Array.of(1, 2, 3),
  sampled: Int32Array.of(7),
  sampledRows: Int32Array.of(0),
  swapsOut: [[1, 0]],
  copies: [[2, 3]],
  swapsIn: [],
};

export const pages = () => fakeTensor('f32', [6, 4, 1, 32]);

/** A step of three new tokens, as the batch has it, but for the lengths and the table. */
export function cacheArgs(): AttnWithKvCacheArgs {
  return {
    q: fakeTensor('f32', [3, 2, 32]),
    k: fakeTensor('f32', [3, 1, 32]),
    v: fakeTensor('f32', [3, 1, 32]),
    kCache: pages(),
    vCache: pages(),
    cacheSeqlens: [1, 2],
    cuSeqlensQ: [0, 2, 3],
    cuSeqlensKNew: [0, 2, 3],
    blockTable: [0, 1, 2, 3, 4, 5],
    causal: true,
    out: fakeTensor('f32', [3, 2, 32]),
  };
}

export function varlenArgs(): AttnVarlenArgs {
  return {
    q: fakeTensor('f32', [3, 2, 32]),
    k: pages(),
    v: pages(),
    cuSeqlensQ: [0, 2, 3],
    sequsedK: [1, 2],
    blockTable: [0, 1, 2, 3, 4, 5],
    causal: true,
    out: fakeTensor('f32', [3, 2, 32]),
  };
}

/** An object without properties of its own, each field being a getter of its prototype, as in a class. */
export function withGetters<T extends object>(fields: T): T {
  const prototype = {};
  for (const name of Object.keys(fields))
    Object.defineProperty(prototype, name, { get: () => fields[name as keyof T] });
  return Object.create(prototype) as T;
}
