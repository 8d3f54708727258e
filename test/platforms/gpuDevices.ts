import { noteAdapter } from '../../src/runtime/adapterInfo.js';
import type { DeviceKind, FeatureSet, GpuCase, Platform } from './gpuCase.js';

/** The devices that the cases of a platform share, and the errors on them that no error scope caught. */
export class GpuDevices {
  readonly features: FeatureSet;
  readonly #gpu: GPU;
  readonly #devices = new Map<DeviceKind, Promise<GPUDevice>>();
  // Deno 2.9 ends with a panic where a device is asked for an adapterInfo that has been garbage-collected.
  readonly #adapters: GPUAdapter[] = [];
  readonly #errors: string[] = [];

  constructor(gpu: GPU, features: FeatureSet = 'all') {
    this.#gpu = gpu;
    this.features = features;
  }

  get(kind: DeviceKind = 'full'): Promise<GPUDevice> {
    let device = this.#devices.get(kind);
    if (!device) {
      device = this.make(kind);
      this.#devices.set(kind, device);
      const forget = () => this.#devices.delete(kind);
      device.then(({ lost }) => lost.then(forget), forget);
    }
    return device;
  }

  /** Wait until every device is idle, then return the errors since the last call. */
  async takeErrors(): Promise<string[]> {
    for (const device of this.#devices.values()) await (await device).queue.onSubmittedWorkDone();
    return this.#errors.splice(0);
  }

  async destroy(): Promise<void> {
    for (const device of this.#devices.values()) (await device).destroy();
    this.#devices.clear();
  }

  /** A device for one case alone. Its errors are collected as well. */
  async make(kind: DeviceKind = 'full'): Promise<GPUDevice> {
    const adapter = await this.#gpu.requestAdapter();
    if (!adapter) throw new Error('No GPU adapter: run `npm run setup`, or install a Vulkan driver.');
    this.#adapters.push(adapter);
    const device = await adapter.requestDevice({
      label: kind,
      ...(kind === 'full' && {
        requiredFeatures: featuresOf(adapter, this.features),
        requiredLimits: limitsOf(adapter),
      }),
    });
    // As requestDevice does it, so that runtimes know of the adapter's subgroup matrices.
    noteAdapter(device, adapter);
    device.addEventListener('uncapturederror', ({ error }) => {
      this.#errors.push(`${error.constructor.name}: ${error.message}`);
    });
    void device.lost.then(({ reason, message }) => {
      if (reason !== 'destroyed') this.#errors.push(`The ${kind} device was lost: ${message}`);
    });
    return device;
  }
}

function featuresOf(adapter: GPUAdapter, set: FeatureSet): GPUFeatureName[] {
  if (set === 'none') return [];
  if (set === 'f16') return ['shader-f16'];
  if (set === 'subgroups') return ['subgroups'];
  return [...adapter.features] as GPUFeatureName[];
}

/** Whether an adapter has the features of a set. */
export function offers(adapter: GPUAdapter, set: FeatureSet): boolean {
  return set === 'all' || featuresOf(adapter, set).every((feature) => adapter.features.has(feature));
}

function limitsOf(adapter: GPUAdapter): Record<string, number> {
  const limits: Record<string, number> = {};
  // Limits are getters of the prototype, so only a `for … in` sees them.
  for (const name in adapter.limits) {
    const limit: unknown = adapter.limits[name as keyof GPUSupportedLimits];
    if (typeof limit === 'number') limits[name] = limit;
  }
  return limits;
}

export interface RunCaseOptions {
  readonly devices: GpuDevices;
  readonly platform: Platform;
}

/** Run one case. It fails by throwing, or by an error on a device that no error scope caught. */
export async function runCase(gpuCase: GpuCase, { devices, platform }: RunCaseOptions): Promise<void> {
  let thrown: Error | undefined;
  try {
    await gpuCase.run({
      platform,
      features: devices.features,
      device: (kind) => devices.get(kind),
      ownDevice: (kind) => devices.make(kind),
    });
  } catch (error) {
    thrown = error instanceof Error ? error : new Error(String(error));
  }
  const messages = [...(thrown ? [thrown.message] : []), ...(await devices.takeErrors())];
  if (messages.length === 0) return;
  const failure = new Error(messages.join('\n'));
  if (thrown?.stack) failure.stack = thrown.stack;
  throw failure;
}
