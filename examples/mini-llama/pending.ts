// Stand-ins for what the library is about to have. Delete this file then, and import the same names from 'pageflash'.
import {
  attnVariants,
  PagedKvCache as Cache,
  planAttnWithKvCache as plan,
  requestDevice as request,
  StepPlanner as Planner,
  type AttentionPlan,
  type AttnWithKvCacheArgs,
  type CacheLayer,
  type FloatDType,
  type PagedKvCacheOptions,
  type Runtime,
  type Step as BareStep,
  type Tensor,
} from 'pageflash';

export type Step = BareStep & { readonly cuSeqlensKNew: Int32Array<ArrayBuffer> };

export class StepPlanner extends Planner {
  override plan(): Step | 'idle' | 'full' {
    const step = super.plan();
    if (typeof step !== 'object') return step;
    const { nSequences, nNewTokens, blockTable, tableWidth, cacheSeqlens, sequsedK, cuSeqlensQ } = step;
    const { positions, slotMapping, maxSeqlenQ, maxSeqlenK, sequences, tokens, sampled, sampledRows } = step;
    const { swapsOut, copies, swapsIn } = step;
    const lengths = { cacheSeqlens, sequsedK, cuSeqlensQ, cuSeqlensKNew: cuSeqlensQ, maxSeqlenQ, maxSeqlenK };
    const batch = { nSequences, nNewTokens, blockTable, tableWidth, positions, slotMapping, ...lengths };
    return { ...batch, sequences, tokens, sampled, sampledRows, swapsOut, copies, swapsIn };
  }
}

const NAMES: ReadonlySet<string> = new Set([
  'q',
  'k',
  'v',
  'out',
  'kCache',
  'vCache',
  'cacheSeqlens',
  'cuSeqlensQ',
  'cuSeqlensKNew',
  'blockTable',
  'rotaryCos',
  'rotarySin',
  'rotaryInterleaved',
  'causal',
]);

function known<Args extends object>(args: Args): Args {
  return Object.fromEntries(Object.entries(args).filter(([name]) => NAMES.has(name))) as Args;
}

export function planAttnWithKvCache(
  runtime: Runtime,
  args: AttnWithKvCacheArgs,
): AttentionPlan<AttnWithKvCacheArgs> {
  const planned = plan(runtime, known(args));
  const update = planned.update.bind(planned);
  return Object.assign(planned, {
    update: (changes: Partial<AttnWithKvCacheArgs>) => update(known(changes)),
  });
}

export interface PagedKvCache {
  readonly nPages: number;
  readonly pageSize: number;
  layer(i: number): CacheLayer;
  movePages(step: Step): Promise<void>;
  destroy(): void;
}

export const PagedKvCache = {
  async create(runtime: Runtime, options: PagedKvCacheOptions): Promise<PagedKvCache> {
    const cache = await Cache.create(runtime, options);
    const hostPages = new Map<number, Uint8Array>();
    return Object.assign(cache, {
      async movePages({ swapsOut, copies, swapsIn }: Step): Promise<void> {
        const contents = await cache.readPages(swapsOut.map(([page]) => page));
        swapsOut.forEach(([, hostPage], i) => hostPages.set(hostPage, contents[i]!));
        cache.copyPages(copies);
        const pages = swapsIn.map(([, page]) => page);
        cache.writePages(
          pages,
          swapsIn.map(([hostPage]) => hostPages.get(hostPage)!),
        );
      },
    });
  },
};

export function tensorFrom(
  { device }: Runtime,
  data: Float32Array,
  { shape, dtype }: { readonly shape: readonly number[]; readonly dtype: 'f32' },
): Tensor {
  const { STORAGE, COPY_SRC, COPY_DST } = GPUBufferUsage;
  const buffer = device.createBuffer({ size: data.byteLength, usage: STORAGE | COPY_SRC | COPY_DST });
  device.queue.writeBuffer(buffer, 0, new Float32Array(data));
  return { buffer, dtype, shape };
}

export async function read({ device }: Runtime, tensor: Tensor): Promise<Float32Array<ArrayBuffer>> {
  const { COPY_DST, MAP_READ } = GPUBufferUsage;
  const size = 4 * tensor.shape.reduce((product, n) => product * n, 1);
  const buffer = device.createBuffer({ size, usage: COPY_DST | MAP_READ });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(tensor.buffer, 0, buffer, 0, size);
  device.queue.submit([encoder.finish()]);
  await buffer.mapAsync(GPUMapMode.READ);
  const numbers = new Float32Array(buffer.getMappedRange().slice(0));
  buffer.destroy();
  return numbers;
}

interface Config {
  readonly head_dim: number;
  readonly rope_parameters: {
    readonly rope_theta: number;
    readonly factor: number;
    readonly low_freq_factor: number;
    readonly high_freq_factor: number;
    readonly original_max_position_embeddings: number;
  };
}

export interface RotaryTables {
  readonly rotaryCos: Float32Array<ArrayBuffer>;
  readonly rotarySin: Float32Array<ArrayBuffer>;
  readonly rotaryDim: number;
  readonly rotaryInterleaved: boolean;
}

export function rotaryTables(options: {
  readonly config: object;
  readonly maxPositions: number;
}): RotaryTables {
  const { head_dim: headDim, rope_parameters: rope } = options.config as Config;
  const { factor, low_freq_factor: low, high_freq_factor: high } = rope;
  const nPairs = headDim / 2;
  const frequencies = Array.from({ length: nPairs }, (_, t) => {
    const frequency = rope.rope_theta ** (-t / nPairs);
    const turns = (rope.original_max_position_embeddings * frequency) / (2 * Math.PI);
    const share = Math.min(1, Math.max(0, (turns - low) / (high - low)));
    return frequency * (share + (1 - share) / factor);
  });
  const angles = Array.from({ length: options.maxPositions }, (_, position) =>
    frequencies.map((frequency) => position * frequency),
  ).flat();
  return {
    rotaryCos: Float32Array.from(angles, (angle) => Math.cos(angle)),
    rotarySin: Float32Array.from(angles, (angle) => Math.sin(angle)),
    rotaryDim: headDim,
    rotaryInterleaved: false,
  };
}

export function fromHalves(dtype: 'f16' | 'bf16', bits: Uint16Array): Float32Array<ArrayBuffer> {
  return Float32Array.from(bits, (half) => {
    if (dtype === 'bf16') return new Float32Array(Uint32Array.of(half << 16).buffer)[0]!;
    const exponent = (half >>> 10) & 31;
    const fraction = half & 1023;
    const magnitude = exponent ? (1024 + fraction) * 2 ** (exponent - 25) : fraction * 2 ** -24;
    return half & 0x8000 ? -magnitude : magnitude;
  });
}

const held: GPU[] = [];

export function requestDevice({ gpu }: { readonly gpu: GPU }): Promise<GPUDevice> {
  held.push(gpu);
  return request({ gpu });
}

export interface PrepareModelOptions {
  readonly nHeads: number;
  readonly nKvHeads: number;
  readonly headDim: number;
  readonly dtype: FloatDType;
  readonly paged: boolean;
  readonly rotary: boolean;
  readonly maxTokens: number;
  readonly warmUp: boolean;
}

export async function prepareModel(runtime: Runtime, options: PrepareModelOptions): Promise<void> {
  const { nHeads, nKvHeads, headDim, dtype, paged, rotary } = options;
  const group = nHeads / nKvHeads;
  await runtime.prepare(attnVariants(runtime, { headDim, dtype, newDType: dtype, group, paged, rotary }));
}
