import type { PrepareModelOptions } from '../../src/index.js';
import { strictDevice } from '../runtime/strictDevice.js';

/** A device that records what it compiles, and in which turn of the event loop. */
export function compilingDevice() {
  const strict = strictDevice();
  const { device } = strict;
  let lose: (info: GPUDeviceLostInfo) => void;
  const lost = new Promise<GPUDeviceLostInfo>((resolve) => (lose = resolve));
  const modules: string[] = [];
  const turns: number[] = [];
  const onTheSpot: string[] = [];
  let turn = 0;
  const compiling = Object.assign(Object.create(device) as GPUDevice, {
    lost,
    createShaderModule(descriptor: GPUShaderModuleDescriptor) {
      modules.push(descriptor.label!);
      turns.push(turn);
      return device.createShaderModule(descriptor);
    },
    createComputePipeline(descriptor: GPUComputePipelineDescriptor) {
      onTheSpot.push(descriptor.label!);
      return device.createComputePipeline(descriptor);
    },
  });
  return {
    ...strict,
    device: compiling,
    /** Names of the variants, in order. */
    modules,
    /** The turn of each. */
    turns,
    /** Those that a call compiled because it could not wait. */
    onTheSpot,
    lose: (message: string) => lose({ reason: 'unknown', message } as GPUDeviceLostInfo),
    /** Counts the turns of the event loop while some work is done. */
    async counting<T>(work: Promise<T>): Promise<T> {
      let counts = true;
      const count = (): void => {
        turn++;
        if (counts) setImmediate(count);
      };
      setImmediate(count);
      return work.finally(() => (counts = false));
    },
  };
}

/** A small model in pages. */
export const MODEL: PrepareModelOptions = {
  nHeads: 4,
  nKvHeads: 2,
  headDim: 32,
  dtype: 'f32',
  paged: true,
  maxTokens: 64,
  maxContext: 1024,
};
