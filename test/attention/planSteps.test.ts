import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import {
  planAttnVarlen,
  planAttnWithKvCache,
  type AttnWithKvCacheArgs,
  type Tensor,
} from '../../src/index.js';
import type { Dispatch } from '../../src/core/dispatch.js';
import { PageflashError } from '../../src/core/errors.js';
import { Recording } from '../../src/runtime/recording.js';
import { packParams } from '../../src/runtime/uploads.js';
import { Random } from '../../tools/random.js';
import { fakeTensor } from '../runtime/fakeDevice.js';
import { strictDevice } from '../runtime/strictDevice.js';
import { createRuntime } from '../../src/index.js';
import { refusal } from '../check/refusal.js';
import { cacheArgs, notedRuntime, pages, varlenArgs } from './planInputs.js';

/** The dispatches that plans have planned, the latest last. */
let planned: (readonly Dispatch[])[] = [];

beforeEach(() => {
  planned = [];
  const { repeat } = Recording.prototype;
  vi.spyOn(Recording.prototype, 'repeat').mockImplementation(function (this: Recording, dispatches) {
    planned.push(dispatches);
    return repeat.call(this, dispatches);
  });
});

afterEach(() => vi.restoreAllMocks());

type Args = AttnWithKvCacheArgs;

/** The tensors of a step; which of them a step has is decided by its other arguments. */
const TENSORS = { q: fakeTensor('f32', [3, 2, 32]), dense: fakeTensor('f32', [3, 1, 2, 32]) };
const NEW = { k: fakeTensor('f32', [3, 1, 32]), v: fakeTensor('f32', [3, 1, 32]) };
const ANGLES = fakeTensor('f32', [12, 16]);
const LENGTHS = fakeTensor('i32', [2]);

/** Values by argument, right ones and wrong ones. Arrays are the same objects each time, filled anew. */
function someValues(random: Random): { readonly [Name in keyof Args]?: () => Args[Name] } {
  const seqlens = new Int32Array(2);
  const sums = [new Int32Array(3), new Int32Array(3)] as const;
  const table = new Int32Array(6);
  const order = Int32Array.of(0, 1, 2, 3, 4, 5);
  const slopes = new Float32Array(2);
  const prefix = new Int32Array(1);
  const shared = { blockTable: prefix, length: 4 };
  const sumsOf = (into: Int32Array) => () => {
    into[1] = random.int(0, 4);
    into[2] = random.pick([3, 3, 3, into[1], 4]);
    return into;
  };
  return {
    cacheSeqlens: () => {
      seqlens.forEach((_, b) => (seqlens[b] = random.int(-1, 12)));
      return random.pick<Args['cacheSeqlens']>([seqlens, seqlens, seqlens, [...seqlens], 4, LENGTHS, [1]]);
    },
    blockTable: () => {
      table.set(order);
      if (random.int(0, 3) === 0) table[random.int(0, 6)] = random.int(-1, 7);
      return random.pick<Args['blockTable']>([table, table, [...table], order, table.subarray(0, 4)]);
    },
    sharedPrefix: () => {
      prefix[0] = random.pick([0, 0, 0, 3]);
      return random.pick<Args['sharedPrefix']>([undefined, undefined, shared, { ...shared, length: 0 }]);
    },
    cuSeqlensQ: sumsOf(sums[0]),
    cuSeqlensKNew: sumsOf(sums[1]),
    cacheBatchIdx: () => random.pick<Args['cacheBatchIdx']>([undefined, undefined, [1, 0], [0, 0], [0, 2]]),
    cacheLeftpad: () => random.pick<Args['cacheLeftpad']>([undefined, undefined, [1, 0], [0, 50]]),
    k: () => random.pick<Args['k']>([NEW.k, NEW.k, NEW.k, undefined]),
    v: () => random.pick<Args['v']>([NEW.v, NEW.v, { ...NEW.v, offset: 0 }, undefined]),
    q: () => random.pick([TENSORS.q, TENSORS.q, { ...TENSORS.q }, TENSORS.dense]),
    kCache: () => random.pick([cacheOf(0), cacheOf(0), cacheOf(1)]),
    causal: () => random.pick([true, true, false]),
    windowSize: () => random.pick<Args['windowSize']>([undefined, [3, 0], [3, 0], [-2, 0]]),
    softcap: () => random.pick([0, 0, 20, -1]),
    numSplits: () => random.pick([0, 0, 2]),
    maxSeqlenK: () => random.pick([undefined, undefined, 6]),
    alibiSlopes: () => {
      slopes.fill(random.pick([0.5, 0.25]));
      return random.pick<Args['alibiSlopes']>([undefined, undefined, slopes]);
    },
    rotaryCos: () => random.pick<Args['rotaryCos']>([undefined, ANGLES]),
    rotarySin: () => random.pick<Args['rotarySin']>([undefined, ANGLES]),
    out: () => random.pick<Args['out']>([undefined, fakeTensor('f32', [3, 2, 32])]),
    returnLse: () => random.pick([false, false, true]),
  };
}

const CACHES = [pages(), pages()];
const cacheOf = (index: number): Tensor => CACHES[index]!;

/** Arguments as they are now, those that are cleared left out. */
const copied = <T extends object>(args: T): T =>
  Object.fromEntries(
    Object.entries(args).flatMap(([name, value]) =>
      value === undefined ? [] : [[name, structuredCopy(value)]],
    ),
  ) as T;

function structuredCopy(value: unknown): unknown {
  return Array.isArray(value) || ArrayBuffer.isView(value) ? (value as Int32Array).slice() : value;
}

/** What a plan gives: its dispatches, or the sentence that refuses it. */
function outcome(caller: string, run: () => void): unknown {
  try {
    run();
    return planned.at(-1);
  } catch (error) {
    if (error instanceof PageflashError) return `${error.code}: ${error.message.replace(`${caller}: `, '')}`;
    throw error;
  }
}

describe('a step is planned as if it were the first', () => {
  test.each([1, 2])('whatever changes, and whatever was refused before: seed %d', (seed) => {
    const random = new Random(seed);
    const values = someValues(random);
    const names = Object.keys(values) as (keyof typeof values)[];
    let args: Args = { ...cacheArgs(), q: TENSORS.q, ...NEW, kCache: cacheOf(0), vCache: cacheOf(1) };
    const plan = planAttnWithKvCache(notedRuntime().runtime, copied(args));
    const outcomes = { planned: 0, refused: 0 };
    for (let step = 0; step < 250; step++) {
      const nChanges = random.pick([1, 1, 1, 2, 3]);
      const changed = Array.from({ length: nChanges }, () => random.pick(names));
      const changes = Object.fromEntries(changed.map((name) => [name, values[name]!()])) as Pick<
        Args,
        'causal'
      >;
      const next = { ...args, ...changes };
      const updated = outcome('planAttnWithKvCache.update', () => plan.update(changes as Args));
      const fresh = outcome('planAttnWithKvCache', () =>
        planAttnWithKvCache(notedRuntime().runtime, copied(next)),
      );
      expect(updated, `step ${step}: ${changed.join()}`).toEqual(fresh);
      outcomes[typeof fresh === 'string' ? 'refused' : 'planned']++;
      if (typeof fresh !== 'string') args = copied(next);
    }
    expect(Math.min(outcomes.planned, outcomes.refused)).toBeGreaterThan(40);
  });
});

/** A device that tells what each dispatch finds in its bindings. */
function readingDevice() {
  const { device, pass: passOf } = strictDevice();
  const held = new Map<GPUBuffer, Uint32Array>();
  const { queue, createBindGroup } = device;
  queue.writeBuffer = (buffer, offset, data) => {
    const { buffer: bytes, byteOffset, byteLength } = data as Uint32Array;
    if (!held.has(buffer)) held.set(buffer, new Uint32Array(buffer.size / 4));
    held.get(buffer)!.set(new Uint32Array(bytes, byteOffset, byteLength / 4), offset / 4);
    return undefined;
  };
  const entriesOf = new Map<GPUBindGroup, readonly GPUBindGroupEntry[]>();
  device.createBindGroup = (descriptor) => {
    const group = createBindGroup(descriptor);
    entriesOf.set(group, [...descriptor.entries]);
    return group;
  };
  /** The words of each binding that was written by the host, for each dispatch of a pass. */
  const found: Map<number, Uint32Array>[] = [];
  const passes = () => {
    const inner = passOf();
    let group: GPUBindGroup;
    return {
      ...inner,
      setBindGroup(_: number, next: GPUBindGroup) {
        group = next;
        inner.setBindGroup(0, next);
      },
      dispatchWorkgroups(...grid: [number, number, number]) {
        const words = entriesOf.get(group)!.map(({ binding, resource }) => {
          const { buffer, offset = 0, size } = resource as GPUBufferBinding;
          const all = held.get(buffer) ?? new Uint32Array();
          return [binding, all.subarray(offset / 4, (offset + size!) / 4)] as const;
        });
        found.push(new Map(words));
        inner.dispatchWorkgroups(...grid);
      },
    } as unknown as GPUComputePassEncoder;
  };
  return { device, found, passes };
}

test('every dispatch finds the params and arrays of its step', () => {
  const { device, found, passes } = readingDevice();
  const random = new Random(1);
  const values = someValues(random);
  const names = [
    'cacheSeqlens',
    'blockTable',
    'cuSeqlensQ',
    'cuSeqlensKNew',
    'numSplits',
    'alibiSlopes',
  ] as const;
  const plan = planAttnWithKvCache(createRuntime(device), { ...cacheArgs(), ...NEW });
  for (let step = 0; step < 150; step++) {
    const changes = names.filter(() => random.boolean()).map((name) => [name, values[name]!()]);
    const accepted = outcome('', () => plan.update({ causal: true, ...Object.fromEntries(changes) }));
    if (typeof accepted === 'string') continue;
    const dispatches = accepted as readonly Dispatch[];
    found.length = 0;
    plan.record({ pass: passes() });
    expect(found).toHaveLength(dispatches.length);
    dispatches.forEach(({ kernel, params, bindings }, i) => {
      for (const { name, binding, access } of kernel.bindings) {
        const array = bindings[name];
        const want = access === 'uniform' ? packParams(kernel.params, params) : array;
        if (!ArrayBuffer.isView(want)) continue;
        const { buffer, byteOffset, length } = want as Uint32Array;
        const got = found[i]!.get(binding)!.slice(0, length);
        expect(got, `step ${step}: ${name} of ${kernel.name}`).toEqual(
          new Uint32Array(buffer, byteOffset, length),
        );
      }
    });
  }
});

describe('lengths, slopes and sinks on the GPU are gathered once a step', () => {
  const onGpu = { cacheSeqlens: fakeTensor('i32', [2]), sinks: fakeTensor('f32', [2]) };
  const layers = () => [0, 1, 2].map(() => ({ kCache: pages(), vCache: pages() }));

  /** A plan, and the kernels that it records into passes. */
  function recorded() {
    const strict = strictDevice();
    const plan = planAttnWithKvCache(createRuntime(strict.device), { ...cacheArgs(), ...NEW, ...onGpu });
    const kernels = planned.at(-1)!.map(({ kernel }) => kernel.name);
    const own = layers();
    /** How many dispatches each layer has in a pass. */
    const into = (pass: GPUComputePassEncoder) =>
      own.map((layer) => {
        const before = strict.touched.dispatches;
        plan.record({ ...layer, pass });
        return strict.touched.dispatches - before;
      });
    return { ...strict, plan, kernels, own, into };
  }

  test('in the first layer after an update, and in every pass', () => {
    const { plan, kernels, into, pass } = recorded();
    expect(kernels.slice(0, 2)).toEqual(['gather_lengths', 'gather_heads']);
    const all = kernels.length;
    const once = [all, all - 2, all - 2];
    const [a, b] = [pass(), pass()];
    expect(into(a)).toEqual(once);
    expect(into(a)).toEqual([all - 2, all - 2, all - 2]);
    expect(into(b)).toEqual(once);
    // Passes that are recorded by turns are told apart by the last one only.
    expect(into(a)).toEqual(once);
    plan.update({ cacheSeqlens: onGpu.cacheSeqlens });
    expect(into(a)).toEqual(once);
    plan.update({ causal: false });
    expect(into(a)).toEqual(once);
  });

  test('in each layer that has a pass of its own', () => {
    const { plan, kernels, own, touched } = recorded();
    for (const layer of own) plan.record(layer);
    expect(touched.dispatches).toBe(own.length * kernels.length);
  });

  test('an update that is refused begins no step', () => {
    const { plan, kernels, into, pass } = recorded();
    const a = pass();
    into(a);
    expect(refusal(() => plan.update({ softcap: -1 }))).toContain('softcap');
    expect(into(a)[0]).toBe(kernels.length - 2);
  });

  test('lengths on the host take no dispatch', () => {
    planAttnVarlen(notedRuntime().runtime, varlenArgs());
    expect(planned.at(-1)!.filter(({ perStep }) => perStep)).toEqual([]);
  });
});
