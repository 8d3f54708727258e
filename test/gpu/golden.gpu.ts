import { attnVarlen, createRuntime } from 'pageflash';
import { download, upload } from '../support/deviceTensor.js';
import type { DeviceKind, GpuCase } from '../support/gpuCase.js';
import { goldenNames, loadGolden, type GoldenFloats, type GoldenVarlen } from '../support/golden.js';
import { checkLse, checkOut } from '../support/tolerance.js';
import { attnVarlenReference } from '../../src/reference/attention.js';

const kinds: readonly DeviceKind[] = ['full', 'plain'];
const varlenNames = goldenNames.filter((name) => name.startsWith('varlen_'));

/** The answers that PyTorch gave, against the package as it is published. */
export const cases: GpuCase[] = kinds.flatMap((kind) =>
  varlenNames.map((name) => ({
    name: `${name} on a ${kind} device`,
    run: async (t) => {
      const golden = await loadGolden(name);
      if (golden.fn !== 'attnVarlen') throw new Error(`${name} is a case of ${golden.fn}.`);
      await check(await t.device(kind), golden);
    },
  })),
);

async function check(device: GPUDevice, golden: GoldenVarlen): Promise<void> {
  const { floats, ints, args, dtype } = golden;
  const runtime = createRuntime(device);
  const tensors = [floats.q, floats.k, floats.v].map(({ dtype: type, shape, data }) =>
    upload(device, type, shape, data),
  );
  const [q, k, v] = tensors as [(typeof tensors)[0], (typeof tensors)[0], (typeof tensors)[0]];
  const options = {
    ...args,
    cuSeqlensQ: ints.cuSeqlensQ.data,
    cuSeqlensK: ints['cuSeqlensK']?.data,
    sequsedK: ints['sequsedK']?.data,
    blockTable: ints['blockTable']?.data,
    alibiSlopes: floats['alibiSlopes']?.data,
    sinks: floats['sinks']?.data,
  };
  const result = attnVarlen(runtime, { ...options, q, k, v, returnLse: true });
  const out = await download(device, result.out);
  const lse = await download(device, result.lse!);
  for (const { buffer } of [...tensors, result.out, result.lse!]) buffer.destroy();
  runtime.destroy();

  const emulated =
    dtype === 'f32'
      ? undefined
      : attnVarlenReference({
          ...options,
          q: hostTensor(floats.q),
          k: hostTensor(floats.k),
          v: hostTensor(floats.v),
          storage: dtype,
        }).out.data;
  checkOut({ actual: out, reference: floats.out.data, emulated, dtype, softcap: args.softcap });
  checkLse({ actual: lse, reference: floats.lse.data });
}

function hostTensor({ shape, data }: GoldenFloats) {
  return { shape, data };
}
