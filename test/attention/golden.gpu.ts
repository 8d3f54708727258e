import { attnVarlen, attnWithKvCache, createRuntime, type Tensor } from 'pageflash';
import {
  attnVarlenReference,
  attnWithKvCacheReference,
  type HostTensor,
} from '../../src/reference/attention.js';
import { download, upload } from '../../tools/deviceTensor.js';
import type { DeviceKind, GpuCase } from '../platforms/gpuCase.js';
import {
  goldenNames,
  loadGolden,
  type GoldenFloats,
  type GoldenKvCache,
  type GoldenVarlen,
} from '../reference/golden.js';
import { checkLse, checkOut, checkRotated, checkSame } from '../reference/tolerance.js';

const kinds: readonly DeviceKind[] = ['full', 'plain'];

/** Results of PyTorch, against the package as it is published. */
export const cases: GpuCase[] = kinds.flatMap((kind) =>
  goldenNames.map((name) => ({
    name: `${name} on a ${kind} device`,
    run: async (t) => {
      const golden = await loadGolden(name);
      const device = await t.device(kind);
      if (golden.fn === 'attnVarlen') await checkVarlen(device, golden);
      else await checkKvCache(device, golden);
    },
  })),
);

async function checkVarlen(device: GPUDevice, { floats, ints, args, dtype }: GoldenVarlen): Promise<void> {
  const runtime = createRuntime(device);
  const { placed, host, freeAll } = tensorsOf(device, floats, ['q', 'k', 'v']);
  const options = {
    ...args,
    cuSeqlensQ: ints.cuSeqlensQ.data,
    cuSeqlensK: ints['cuSeqlensK']?.data,
    sequsedK: ints['sequsedK']?.data,
    blockTable: ints['blockTable']?.data,
    alibiSlopes: floats['alibiSlopes']?.data,
    sinks: floats['sinks']?.data,
  };
  const result = attnVarlen(runtime, { ...options, ...placed, returnLse: true });
  const out = await download(device, result.out);
  const lse = await download(device, result.lse!);
  freeAll([result.out, result.lse!]);
  runtime.destroy();

  const storage = dtype === 'f32' ? undefined : dtype;
  const emulated = storage && attnVarlenReference({ ...options, ...host, storage }).out.data;
  checkOut({ actual: out, reference: floats.out.data, emulated, dtype, softcap: args.softcap });
  checkLse({ actual: lse, reference: floats.lse.data });
}

async function checkKvCache(device: GPUDevice, { floats, ints, args, dtype }: GoldenKvCache): Promise<void> {
  const runtime = createRuntime(device);
  const caches = tensorsOf(device, floats, ['q', 'kCache', 'vCache']);
  const fresh = tensorsOf(device, floats, floats['k'] ? ['k', 'v', 'rotaryCos', 'rotarySin'] : []);
  const options = {
    ...args,
    cacheSeqlens: ints.cacheSeqlens.data,
    blockTable: ints['blockTable']?.data,
    cacheBatchIdx: ints['cacheBatchIdx']?.data,
    cacheLeftpad: ints['cacheLeftpad']?.data,
  };
  const { kCache, vCache } = caches.placed;
  const result = attnWithKvCache(runtime, { ...options, ...caches.placed, ...fresh.placed, returnLse: true });
  const got = {
    out: await download(device, result.out),
    lse: await download(device, result.lse!),
    kCache: await download(device, kCache),
    vCache: await download(device, vCache),
  };
  caches.freeAll([result.out, result.lse!]);
  fresh.freeAll([]);
  runtime.destroy();

  const hostArgs = { ...options, ...caches.host, ...fresh.host, dtype };
  const storage = dtype === 'f32' ? undefined : dtype;
  const emulated = storage && attnWithKvCacheReference({ ...hostArgs, storage }).out.data;
  const { softcap } = args;
  checkOut({ actual: got.out, reference: floats.out.data, emulated, dtype, softcap, kvCache: true });
  checkLse({ actual: got.lse, reference: floats.lse.data });
  // The golden caches list slots that hold a key; the reference, which is checked against them, has every slot.
  const want = attnWithKvCacheReference(hostArgs);
  checkRotated('kCache', { actual: got.kCache, reference: want.kCache.data }, dtype);
  checkSame('vCache', { actual: got.vCache, reference: Float32Array.from(want.vCache.data) });
}

/** Golden tensors by name, on the device and on the host. */
function tensorsOf<Name extends string>(
  device: GPUDevice,
  floats: Readonly<Record<string, GoldenFloats | undefined>>,
  names: readonly Name[],
) {
  const placed = {} as Record<Name, Tensor>;
  const host = {} as Record<Name, HostTensor>;
  for (const name of names) {
    const { dtype, shape, data } = floats[name]!;
    placed[name] = upload(device, dtype, shape, data);
    host[name] = { shape, data };
  }
  const freeAll = (more: readonly Tensor[]): void => {
    for (const { buffer } of [...more, ...Object.values<Tensor>(placed)]) buffer.destroy();
  };
  return { placed, host, freeAll };
}
