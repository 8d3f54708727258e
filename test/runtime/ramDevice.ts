import { fakeBuffer, fakeDevice } from './fakeDevice.js';

export interface RamDevice {
  readonly device: GPUDevice;
  /** Buffers that were created and not destroyed. */
  nLive(): number;
  /** Bytes that were copied so far. */
  nCopied(): number;
  /** Returns the contents of a buffer. */
  bytesOf(buffer: GPUBuffer): Uint8Array<ArrayBuffer>;
  /** Holds back all mappings, or lets them go on again. */
  hold(): void;
  release(): void;
  /** Rejects all mappings from now on, or accepts them again. */
  failMappings(message: string | undefined): void;
  lose(message: string): void;
}

/** A device that can only write buffers, copy between them and map them, in order. */
export function ramDevice(limits: Partial<GPUSupportedLimits> = {}): RamDevice {
  const contents = new Map<GPUBuffer, Uint8Array<ArrayBuffer>>();
  let nCopied = 0;
  let failure: string | undefined;
  let held: Promise<void> = Promise.resolve();
  let release = (): void => {};
  let lose: (info: GPUDeviceLostInfo) => void;
  const bytesOf = (buffer: GPUBuffer): Uint8Array<ArrayBuffer> => {
    const bytes = contents.get(buffer);
    if (!bytes) throw new Error('The buffer was destroyed.');
    return bytes;
  };
  const whole = (...numbers: readonly number[]): void => {
    for (const n of numbers) if (n % 4 !== 0) throw new Error(`${n} is not a multiple of 4.`);
  };
  const device = Object.assign(fakeDevice({ maxBufferSize: 2 ** 24, ...limits }), {
    lost: new Promise<GPUDeviceLostInfo>((resolve) => (lose = resolve)),
    createBuffer: ({ size, usage }: GPUBufferDescriptor): GPUBuffer => {
      const buffer: GPUBuffer = Object.assign(fakeBuffer(size, usage), {
        destroy: () => void contents.delete(buffer),
        mapAsync: async () => {
          await held;
          if (failure !== undefined) throw new Error(failure);
        },
        getMappedRange: () => bytesOf(buffer).buffer,
      });
      contents.set(buffer, new Uint8Array(size));
      return buffer;
    },
    createCommandEncoder: () => {
      const commands: (() => void)[] = [];
      return {
        copyBufferToBuffer: (
          ...[from, at, to, toAt, size]: [GPUBuffer, number, GPUBuffer, number, number]
        ) => {
          whole(at, toAt, size);
          if (at + size > from.size || toAt + size > to.size) throw new Error('A copy ends beyond a buffer.');
          commands.push(() => {
            nCopied += size;
            bytesOf(to).set(bytesOf(from).subarray(at, at + size), toAt);
          });
        },
        finish: () => commands,
      };
    },
  });
  Object.assign(device.queue, {
    writeBuffer: (buffer: GPUBuffer, offset: number, data: ArrayBufferView) => {
      whole(offset, data.byteLength);
      if (data.buffer instanceof SharedArrayBuffer) throw new TypeError('Shared memory is refused.');
      bytesOf(buffer).set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), offset);
    },
    submit: (lists: (() => void)[][]) => lists.flat().forEach((run) => run()),
    onSubmittedWorkDone: () => Promise.resolve(),
  });
  return {
    device,
    nLive: () => contents.size,
    nCopied: () => nCopied,
    bytesOf,
    hold: () => {
      held = new Promise((resolve) => (release = resolve));
    },
    release: () => release(),
    failMappings: (message) => (failure = message),
    lose: (message) => lose({ reason: 'unknown', message } as GPUDeviceLostInfo),
  };
}
