import { createRuntime, requestDevice } from '../src/index.js';
import type { BenchCase } from './cases.js';
import { effortFor } from './effort.js';
import { measureCase, type Tell } from './measure.js';
import { measureRecording } from './recording/measureRecording.js';
import type { RecordingRow } from './recording/results.js';
import type { AdapterFacts, Row } from './results.js';

/** Measures rows on one device, and on a new one after a row has cost the device its life. */
export class DeviceBench {
  readonly #gpu: GPU;
  #device: Promise<GPUDevice> | undefined;
  readonly #errors: string[] = [];

  constructor(gpu: GPU) {
    this.#gpu = gpu;
  }

  async adapter(): Promise<AdapterFacts> {
    const device = await this.#getDevice();
    const { vendor = '', architecture = '', device: name = '', description = '' } = device.adapterInfo;
    return {
      vendor,
      architecture,
      device: name,
      description,
      software: isSoftware(device),
      features: [...device.features].toSorted(),
      maxBindingBytes: device.limits.maxStorageBufferBindingSize,
    };
  }

  /** What goes wrong is told in the row. */
  async measure(benchCase: BenchCase, quick: boolean, tell: Tell): Promise<Row> {
    try {
      const device = await this.#getDevice();
      const effort = effortFor({ software: isSoftware(device), quick, kind: benchCase.kind });
      const row = await measureCase({ device, benchCase, effort, tell });
      this.#throwErrors();
      return row;
    } catch (error) {
      this.#errors.length = 0;
      return { case: benchCase, status: 'failed', message: (error as Error).message };
    }
  }

  /** What goes wrong is told in the result. */
  async measureRecording(quick: boolean): Promise<RecordingRow> {
    try {
      const costs = await measureRecording(await this.#getDevice(), quick);
      this.#throwErrors();
      return { status: 'measured', costs };
    } catch (error) {
      this.#errors.length = 0;
      return { status: 'failed', message: (error as Error).message };
    }
  }

  async destroy(): Promise<void> {
    (await this.#device)?.destroy();
  }

  #getDevice(): Promise<GPUDevice> {
    this.#device ??= this.#request();
    return this.#device;
  }

  async #request(): Promise<GPUDevice> {
    const device = await requestDevice({ gpu: this.#gpu, label: 'bench' });
    device.addEventListener('uncapturederror', ({ error }) => this.#errors.push(error.message));
    void device.lost.then(() => {
      this.#device = undefined;
    });
    return device;
  }

  #throwErrors(): void {
    if (this.#errors.length > 0) throw new Error(this.#errors.join('\n'));
  }
}

function isSoftware(device: GPUDevice): boolean {
  return createRuntime(device).traits.deviceClass === 'software';
}
