import type { Dispatch } from '../../src/core/dispatch.js';
import type { DeviceTraits } from '../../src/core/deviceTraits.js';
import { elementCount } from '../../src/core/tensor.js';
import { PageflashError, type Runtime, type Tensor } from '../../src/index.js';
import { fakeTensor } from '../runtime/fakeDevice.js';

/** How the kernels of a fake device behave. */
export interface Behaviour {
  /** Milliseconds of a dispatch. */
  readonly msOf: (dispatch: Dispatch) => number;
  /** Whether the output of a dispatch is right. Default: of all. */
  readonly isRight?: (dispatch: Dispatch) => boolean;
  /** Whether the compiler takes a kernel. Default: all. */
  readonly compiles?: (dispatch: Pick<Dispatch, 'kernel' | 'spec'>) => boolean;
  /** Milliseconds that compiling takes. Default 0. */
  readonly compileMs?: number;
  /** The traits once subgroup matrices were tested. Default: as before. */
  readonly tested?: DeviceTraits;
}

/** What was asked of a fake runtime. */
export interface FakeRuntime {
  readonly runtime: Runtime;
  /** Milliseconds of work in each stream of runs. */
  readonly streams: number[][];
  /** Tensors that were made and not destroyed. */
  readonly live: Set<GPUBuffer>;
}

interface FakeRun {
  readonly dispatches: readonly Dispatch[];
  readonly repetitions: number;
}

/** Times runs on a fake runtime, instead of `timeRuns`. */
export type FakeTime = (runs: readonly FakeRun[]) => Promise<number[]>;

/** As much of a runtime as `tune` uses, on a device that takes the times it is told to take. */
export function fakeRuntime(traits: DeviceTraits, behaviour: Behaviour): FakeRuntime {
  const { msOf, isRight = () => true, compiles = () => true, compileMs = 0, tested = traits } = behaviour;
  const streams: number[][] = [];
  const live = new Set<GPUBuffer>();
  let lastWasRight = true;
  const device = {
    adapterInfo: { description: 'a fake' },
    queue: { writeBuffer: () => {} },
  };
  const runtime = {
    traits,
    device,
    pace: { macsPerSecond: 0, bytesPerSecond: 0 },
    assertAlive: () => {},
    testMatrices() {
      runtime.traits = tested;
      return Promise.resolve();
    },
    inNameOf: (_: string, work: () => unknown) => work(),
    createTensor(shape: readonly number[], dtype: Tensor['dtype']): Tensor {
      const tensor = fakeTensor(dtype, [elementCount(shape)]);
      Object.assign(tensor.buffer, { destroy: () => live.delete(tensor.buffer) });
      live.add(tensor.buffer);
      return { ...tensor, shape };
    },
    createRecording() {
      let dispatches: readonly Dispatch[] = [];
      return {
        update: (given: readonly Dispatch[]) => (dispatches = given),
        bind: () => {},
        bound: () => dispatches,
        destroy: () => {},
      };
    },
    async compile(_: string, variants: readonly Dispatch[], { signal }: { signal?: AbortSignal }) {
      await new Promise((resolve) => setTimeout(resolve, compileMs));
      signal?.throwIfAborted();
      if (!variants.every(compiles)) throw new PageflashError('compile', 'The compiler refused it.');
    },
    time(runs: readonly FakeRun[]) {
      const times = runs.map(
        ({ dispatches, repetitions }) =>
          repetitions * dispatches.reduce((sum, dispatch) => sum + msOf(dispatch), 0),
      );
      streams.push(times);
      lastWasRight = runs.at(-1)!.dispatches.every(isRight);
      return Promise.resolve(times);
    },
    read(_: string, transfers: readonly { bytes: Uint8Array }[]) {
      for (const { bytes } of transfers) bytes.fill(lastWasRight ? 60 : 50);
      return Promise.resolve();
    },
  };
  return { runtime: runtime as unknown as Runtime, streams, live };
}
