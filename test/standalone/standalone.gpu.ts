import { decode, encode } from '../../src/core/dtype.js';
import { quantiseHead } from '../../src/core/kvFormats.js';
import {
  attnWithKvCacheReference,
  attnVarlenReference,
  type HostTensor,
} from '../../src/reference/attention.js';
import {
  dispatchSize,
  kernelVariant,
  type KernelVariant,
  type VariantStruct,
} from '../../src/standalone/kernelVariant.js';
import { downloadBuffer } from '../../tools/deviceTensor.js';
import { assert, assertEqual, type GpuCase, type GpuTest } from '../platforms/gpuCase.js';
import { randomPaged, randomTensor } from '../reference/hostTensors.js';
import { Random } from '../../tools/random.js';
import { checkLse, checkOut } from '../reference/tolerance.js';

// An engine that has nothing of pageflash but a text and its layout, and calls WebGPU itself.

export const cases: GpuCase[] = [
  {
    name: 'attn_decode over pages of halves, from its text and layout alone',
    run: (t) => decodeOverPages(t, 'f16'),
  },
  {
    name: 'attn_decode over pages of i8, from its text and layout alone',
    run: (t) => decodeOverPages(t, 'i8'),
  },
  {
    name: 'attn_prefill over f32 end to end, from its text and layout alone',
    async run(t) {
      const device = await t.device('plain');
      const [nHeads, nKvHeads, d] = [4, 2, 32];
      const starts = [0, 21, 61];
      const random = new Random(2);
      const q = randomTensor(random, [61, nHeads, d]);
      const k = randomTensor(random, [61, nKvHeads, d]);
      const v = randomTensor(random, [61, nKvHeads, d]);

      const variant = kernelVariant({
        kernel: 'attn_prefill',
        headDim: d,
        dtype: 'f32',
        returnLse: true,
        device: { deviceClass: 'software' },
      });
      const group = nHeads / nKvHeads;
      const lengths = [21, 40];
      const chunks = 0 + 1 * variant.constants['CHUNK_LIMIT']!;
      const items = lengths.flatMap((tokens, sequence) =>
        Array.from({ length: Math.ceil((tokens * group) / variant.tile!.rows) }, (_, tile) => ({
          sequence,
          row_tile: tile,
          chunks,
          first_part: 0,
        })),
      );
      const sequences = lengths.map((tokens, b) => ({
        q_len: tokens,
        k_len: tokens,
        first_key: 0,
        n_cached: tokens,
        q_base: starts[b]! * nHeads * d,
        k_base: starts[b]! * nKvHeads * d,
        v_base: starts[b]! * nKvHeads * d,
        out_base: starts[b]! * nHeads * d,
        lse_base: starts[b]!,
        table_base: 0,
        new_k_base: 0,
        new_v_base: 0,
        q_start: starts[b]!,
      }));
      const batchInfo = batchInfoIn(variant, sequences, items);
      const counts = { items: items.length, itemsAt: batchInfo.itemsAt };
      const params = contiguous({ nHeads, nKvHeads, d, tokens: 61 }, counts);
      const results = await runBare(device, variant, params, {
        q: Float32Array.from(q.data),
        k: Float32Array.from(k.data),
        v: Float32Array.from(v.data),
        batch_info: batchInfo.bytes,
        out: new Float32Array(q.data.length),
        lse: new Float32Array(61 * nHeads),
      });
      const want = attnVarlenReference({ q, k, v, cuSeqlensQ: starts, cuSeqlensK: starts, causal: true });
      checkOut({ actual: new Float32Array(results['out']!), reference: want.out.data, dtype: 'f32' });
      checkLse({ actual: new Float32Array(results['lse']!), reference: want.lse.data });
    },
  },
];

/** A step of two sequences over a cache in pages. */
async function decodeOverPages(t: GpuTest, kvDType: 'f16' | 'i8'): Promise<void> {
  const device = await t.device('plain');
  const [nHeads, nKvHeads, d, pageSize] = [4, 2, 32, 4];
  const lengths = [5, 150];
  const paged = randomPaged(new Random(1), { lengths, pageSize, sq: 1, nHeads, nKvHeads, d });
  const q = inHalves(paged.q);
  const k = storedCache(kvDType, paged.kCache);
  const v = storedCache(kvDType, paged.vCache);
  const width = paged.blockTable.length / lengths.length;

  const group = nHeads / nKvHeads;
  // With two scales one storage buffer more than every device has.
  const returnLse = kvDType === 'f16';
  const variant = kernelVariant({
    kernel: 'attn_decode',
    headDim: d,
    dtype: 'f16',
    kvDType,
    ...(kvDType === 'i8' && { scaleDType: 'f32' }),
    paged: true,
    group,
    returnLse,
    device: { deviceClass: 'software' },
  });
  assertEqual(variant.tile!.rows, group, 'rows of a tile');
  // Two sequences of one token, each one item of one chunk.
  const chunks = 0 + 1 * variant.constants['CHUNK_LIMIT']!;
  const items = lengths.map((_, sequence) => ({ sequence, row_tile: 0, chunks, first_part: 0 }));
  const row = nKvHeads * d;
  const bases = { first_key: 0, k_base: 0, v_base: 0, new_k_base: 0, new_v_base: 0 };
  const sequences = lengths.map((keys, b) => ({
    ...bases,
    q_len: 1,
    k_len: keys,
    n_cached: keys,
    q_base: b * nHeads * d,
    out_base: b * nHeads * d,
    lse_base: b,
    table_base: b * width,
    q_start: b,
  }));
  const batchInfo = batchInfoIn(variant, sequences, items);
  const pages = {
    k_page: pageSize * row,
    v_page: pageSize * row,
    page_size: pageSize,
    n_pages: paged.kCache.shape[0]!,
    // A scale for each head.
    k_scale_page: pageSize * nKvHeads,
    k_scale_token: nKvHeads,
    k_scale_head: 1,
    v_scale_page: pageSize * nKvHeads,
    v_scale_token: nKvHeads,
    v_scale_head: 1,
  };
  const heads = { nHeads, nKvHeads, d, tokens: lengths.length };
  const counts = { items: items.length, itemsAt: batchInfo.itemsAt };
  const params = { ...contiguous(heads, counts), ...pages };
  const nRows = lengths.length * nHeads;
  const results = await runBare(device, variant, params, {
    q: encode('f16', q.data),
    k: k.stored,
    v: v.stored,
    ...(k.scales && v.scales && { k_scale: k.scales, v_scale: v.scales }),
    batch_info: batchInfo.bytes,
    block_table: Int32Array.from(paged.blockTable),
    out: new Uint16Array(nRows * d),
    ...(returnLse && { lse: new Float32Array(nRows) }),
  });

  const args = { ...paged, q, kCache: k.values, vCache: v.values, causal: true };
  const want = attnWithKvCacheReference(args);
  const emulated = attnWithKvCacheReference({ ...args, storage: 'f16' }).out.data;
  const out = decode('f16', new Uint16Array(results['out']!));
  checkOut({ actual: out, reference: want.out.data, emulated, dtype: 'f16', kvCache: true });
  if (!returnLse) return;
  // [heads, tokens], of which the reference has [B, heads, 1].
  const lse = new Float32Array(results['lse']!);
  const headsLast = Array.from(lse, (_, i) => lse[(i % nHeads) * lengths.length + Math.floor(i / nHeads)]!);
  checkLse({ actual: headsLast, reference: want.lse.data });
}

/** A cache as it is stored, and the numbers that it then has. */
function storedCache(
  kvDType: 'f16' | 'i8',
  cache: HostTensor,
): { readonly stored: Bytes; readonly scales: Bytes | null; readonly values: HostTensor } {
  if (kvDType === 'f16') {
    const values = inHalves(cache);
    return { stored: encode('f16', values.data), scales: null, values };
  }
  const { shape } = cache;
  const d = shape.at(-1)!;
  const data = Float32Array.from(cache.data);
  const heads = Array.from({ length: data.length / d }, (_, i) =>
    quantiseHead('i8', data.subarray(i * d, (i + 1) * d), { scaleDType: 'f32' }),
  );
  const values = heads.flatMap(({ codes, scales }) => Array.from(codes, (code) => code * scales[0]!));
  return {
    stored: Int8Array.from(heads.flatMap(({ codes }) => [...codes])),
    scales: Float32Array.from(heads.map(({ scales }) => scales[0]!)),
    values: { data: Float64Array.from(values), shape },
  };
}

/** The numbers that halves hold. */
function inHalves({ data, shape }: HostTensor): HostTensor {
  return { data: decode('f16', encode('f16', data)), shape };
}

interface Sizes {
  readonly nHeads: number;
  readonly nKvHeads: number;
  readonly d: number;
  readonly tokens: number;
}

/** Params of causal attention over tensors [tokens, heads, d] without gaps, with lse [heads, tokens]. */
function contiguous(
  { nHeads, nKvHeads, d, tokens }: Sizes,
  { items, itemsAt }: { readonly items: number; readonly itemsAt: number },
): Record<string, number> {
  return {
    first_item: 0,
    end_item: items,
    items_at: itemsAt,
    n_kv_heads: nKvHeads,
    group: nHeads / nKvHeads,
    head_dim: d,
    head_dim_v: d,
    q_token: nHeads * d,
    q_head: d,
    k_page: 0,
    k_token: nKvHeads * d,
    k_head: d,
    v_page: 0,
    v_token: nKvHeads * d,
    v_head: d,
    out_token: nHeads * d,
    out_head: d,
    lse_token: 1,
    lse_head: tokens,
    page_size: 1,
    n_pages: 0,
    window_left: -1,
    window_right: 0,
    attention_chunk: 0,
    score_scale: Math.LOG2E / Math.sqrt(d),
    softcap_log2: 0,
    slopes_at: 0,
    slopes_sequence: 0,
    sinks_at: 0,
    has_sinks: 0,
  };
}

/** Sequences, then items at a multiple of their size. */
function batchInfoIn(
  variant: KernelVariant,
  sequences: readonly Readonly<Record<string, number>>[],
  items: readonly Readonly<Record<string, number>>[],
): { readonly bytes: Uint8Array<ArrayBuffer>; readonly itemsAt: number } {
  const itemBytes = variant.records['Item']!.bytes;
  const first = recordsIn(variant, 'Sequence', sequences);
  const last = recordsIn(variant, 'Item', items);
  const itemsAt = Math.ceil(first.length / itemBytes);
  const bytes = new Uint8Array(itemsAt * itemBytes + last.length);
  bytes.set(first);
  bytes.set(last, itemsAt * itemBytes);
  return { bytes, itemsAt };
}

/** Records one after another, by the offsets of their fields; each field must be given, and no other. */
function recordsIn(
  variant: KernelVariant,
  name: string,
  records: readonly Readonly<Record<string, number>>[],
): Uint8Array<ArrayBuffer> {
  const layout = variant.records[name];
  assert(layout, `${variant.kernel} has no ${name}`);
  const bytes = new Uint8Array(layout.bytes * records.length);
  records.forEach((record, i) => bytes.set(structIn(layout, record), i * layout.bytes));
  return bytes;
}

function structIn(
  { bytes, fields }: VariantStruct,
  values: Readonly<Record<string, number>>,
): Uint8Array<ArrayBuffer> {
  assertEqual(Object.keys(values).toSorted().join(), Object.keys(fields).toSorted().join(), 'fields');
  const view = new DataView(new ArrayBuffer(bytes));
  for (const [field, { offset, type }] of Object.entries(fields)) {
    const value = values[field]!;
    if (type === 'f32') view.setFloat32(offset, value, true);
    else if (type === 'i32') view.setInt32(offset, value, true);
    else view.setUint32(offset, value, true);
  }
  return new Uint8Array(view.buffer);
}

type Bytes = ArrayBufferView<ArrayBuffer>;

/** Runs a kernel with nothing but WebGPU, and reads what it wrote. */
async function runBare(
  device: GPUDevice,
  { code, entryPoint, bindings, params: layout, grid }: KernelVariant,
  params: Readonly<Record<string, number>>,
  contents: Readonly<Record<string, Bytes>>,
): Promise<Readonly<Record<string, ArrayBuffer>>> {
  const { STORAGE, UNIFORM, COPY_SRC, COPY_DST } = GPUBufferUsage;
  const names = bindings.map(({ name }) => name).filter((name) => name !== 'params');
  assertEqual(names.toSorted().join(), Object.keys(contents).toSorted().join(), 'bindings');
  // What only options need is 0.
  const unused = Object.fromEntries(Object.keys(layout.fields).map((name) => [name, 0]));
  const written = structIn(layout, { ...unused, ...params });
  const all: Readonly<Record<string, Bytes>> = { ...contents, params: written };
  const buffers = bindings.map(({ name, access }) => {
    const bytes = new Uint8Array(all[name]!.buffer, all[name]!.byteOffset, all[name]!.byteLength);
    const usage = (access === 'uniform' ? UNIFORM : STORAGE) | COPY_SRC | COPY_DST;
    const buffer = device.createBuffer({ size: Math.ceil(bytes.length / 16) * 16, usage });
    device.queue.writeBuffer(buffer, 0, bytes);
    return buffer;
  });

  const types = { uniform: 'uniform', read: 'read-only-storage', read_write: 'storage' } as const;
  const bindGroupLayout = device.createBindGroupLayout({
    entries: bindings.map(({ binding, access }) => ({
      binding,
      visibility: GPUShaderStage.COMPUTE,
      buffer: { type: types[access] },
    })),
  });
  const pipeline = await device.createComputePipelineAsync({
    layout: device.createPipelineLayout({ bindGroupLayouts: [bindGroupLayout] }),
    compute: { module: device.createShaderModule({ code }), entryPoint },
  });
  const bindGroup = device.createBindGroup({
    layout: bindGroupLayout,
    entries: bindings.map(({ binding }, i) => ({ binding, resource: { buffer: buffers[i]! } })),
  });
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, bindGroup);
  pass.dispatchWorkgroups(...dispatchSize({ grid }, params));
  pass.end();
  device.queue.submit([encoder.finish()]);

  const results: Record<string, ArrayBuffer> = {};
  for (const [i, { name, access }] of bindings.entries())
    if (access === 'read_write')
      results[name] = (await downloadBuffer(device, buffers[i]!)).slice(0, all[name]!.byteLength);
  for (const buffer of buffers) buffer.destroy();
  return results;
}
