import type { TokenRows } from '../../src/problem/attentionProblem.js';
import { attnVarlenReference } from '../../src/reference/attention.js';
import type { Batch } from '../plan/batch.js';
import { checkLse, checkOut } from '../reference/tolerance.js';
import type { HostBuffers } from './interpreter.js';

/** What the reference takes of a batch whose numbers are in buffers: tensors, lengths and the scale. */
export function referenceArgs({ problem, lengths }: Batch, buffers: HostBuffers) {
  const { q, k, v, pages, softmaxScale } = problem;
  const host = ({ tensor }: TokenRows) => ({ shape: tensor.shape, data: buffers.read(tensor) });
  return {
    q: host(q),
    k: host(k),
    v: host(v),
    cuSeqlensQ: [...lengths.qStart, q.tensor.shape[0]!],
    ...(pages
      ? { sequsedK: lengths.kLen, blockTable: pages.table as Int32Array }
      : { cuSeqlensK: [...lengths.kStart, k.tensor.shape[0]!] }),
    softmaxScale,
  };
}

/** Throws unless a kernel has written what the reference gives for these arguments. */
export function expectReference(
  { problem }: Batch,
  buffers: HostBuffers,
  args: Parameters<typeof attnVarlenReference>[0],
): void {
  const want = attnVarlenReference(args);
  checkOut({ actual: buffers.read(problem.out.tensor), reference: want.out.data, dtype: 'f32' });
  checkLse({ actual: buffers.read(problem.lse!.tensor), reference: want.lse.data });
}
