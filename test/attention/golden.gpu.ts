import {
  attnVarlen,
  attnWithKvCache,
  createRuntime,
  type AttentionResult,
  type AttnVarlenArgs,
  type AttnWithKvCacheArgs,
  type Tensor,
} from 'pageflash';
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
      const runtime = createRuntime(await t.device(kind));
      await checkGolden(golden, {
        device: runtime.device,
        varlen: (args) => attnVarlen(runtime, args),
        kvCache: (args) => attnWithKvCache(runtime, args),
      });
      runtime.destroy();
    },
  })),
);

/** What runs a golden call on a device. */
export interface GoldenRun {
  readonly device: GPUDevice;
  readonly varlen: (args: AttnVarlenArgs) => AttentionResult;
  readonly kvCache: (args: AttnWithKvCacheArgs) => AttentionResult;
}

export async function checkGolden(golden: GoldenVarlen | GoldenKvCache, run: GoldenRun): Promise<void> {
  if (golden.fn === 'attnVarlen') await checkVarlen(run, golden);
  else await checkKvCache(run, golden);
}

async function checkVarlen(
  { device, varlen }: GoldenRun,
  { floats, ints, args, dtype }: GoldenVarlen,
): Promise<void> {
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
  const result = varlen({ ...options, ...placed, returnLse: true });
  const out = await download(device, result.out);
  const lse = await download(device, result.lse!);
  freeAll([result.out, result.lse!]);

  const storage = dtype === 'f32' ? undefined : dtype;
  const emulated = storage && attnVarlenReference({ ...options, ...host, storage }).out.data;
  checkOut({ actual: out, reference: floats.out.data, emulated, dtype, softcap: args.softcap });
  checkLse({ actual: lse, reference: floats.lse.data });
}

async function checkKvCache(
  { device, kvCache: call }: GoldenRun,
  { floats, ints, args, dtype }: GoldenKvCache,
): Promise<void> {
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
  const result = call({ ...options, ...caches.placed, ...fresh.placed, returnLse: true });
  const got = {
    out: await download(device, result.out),
    lse: await download(device, result.lse!),
    kCache: await download(device, kCache),
    vCache: await download(device, vCache),
  };
  caches.freeAll([result.out, result.lse!]);
  fresh.freeAll([]);

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
