import { bytesPerElement } from '../../src/core/dtype.js';
import { attnWithKvCacheReference } from '../../src/reference/attention.js';
import type { FeatureCase } from './cases.js';
import type { FeatureCall } from './featureCall.js';
import { featureCalls } from './featureCalls.js';
import { createFeatureInputs, type FeatureInputs } from './featureInputs.js';
import {
  checkAgainstReference,
  firstMiddleLast,
  type ExpectedRows,
  type Implementation,
  type Workload,
} from './workload.js';

/** A call with an option; the peer is the plain call. */
export function featureWorkload(device: GPUDevice, benchCase: FeatureCase): Workload {
  const { batch, nQueries, nHeads, headDim, dtype } = benchCase;
  const inputs = createFeatureInputs(device, benchCase);
  const { own, plain, areEqual } = featureCalls({ device, benchCase, inputs });
  const check = (call: FeatureCall) => (out: Parameters<Workload['check']>[0]) =>
    checkAgainstReference(out, expectedRows(inputs, call, benchCase), dtype);
  const implementationOf = (call: FeatureCall): Omit<Implementation, 'name'> => {
    return { ...onPaper(call, benchCase), prepare: call.prepare };
  };
  const pageflash = { name: 'pageflash', ...implementationOf(own) };
  return {
    outShape: [batch, nQueries, nHeads, headDim],
    flops: pageflash.flops!,
    pageflash,
    peers: [{ name: 'plain', ...implementationOf(plain), ...(!areEqual && { check: check(plain) }) }],
    check: check(own),
    destroy() {
      for (const { buffer } of inputs.lent) buffer.destroy();
    },
  };
}

/** The bytes that a call must move, and the operations on the pairs that it must look at. */
export function onPaper(
  { cache, looksAt, nKeysRead, moreBytes = 0 }: FeatureCall,
  { batch, nQueries, nKeys, nHeads, nKvHeads, headDim, dtype }: FeatureCase,
): { readonly bytes: number; readonly flops: number } {
  let nPairs = 0;
  const isRead = new Uint8Array(nKeys);
  for (let i = 0; i < nQueries; i++)
    for (let key = 0; key <= nKeys - nQueries + i; key++)
      if (!looksAt || looksAt(i, key)) {
        nPairs++;
        isRead[key] = 1;
      }
  const nRead = nKeysRead ?? batch * isRead.reduce((sum, read) => sum + read, 0);
  const rowBytes = 2 * batch * nQueries * nHeads * headDim * bytesPerElement(dtype);
  return {
    bytes: nRead * nKvHeads * cache.tokenBytes + rowBytes + moreBytes,
    flops: 4 * headDim * batch * nHeads * nPairs,
  };
}

/** The reference's output for all heads of a few queries of a few sequences. */
function expectedRows(inputs: FeatureInputs, call: FeatureCall, benchCase: FeatureCase): ExpectedRows[] {
  const { batch, nQueries, nKeys, nHeads, headDim } = benchCase;
  const { q, pages } = inputs;
  const rowSize = nHeads * headDim;
  return firstMiddleLast(batch).flatMap((b) =>
    firstMiddleLast(nQueries).map((i) => {
      const firstIndex = (b * nQueries + i) * rowSize;
      const { out } = attnWithKvCacheReference({
        q: { data: q.host.data.subarray(firstIndex, firstIndex + rowSize), shape: [1, 1, nHeads, headDim] },
        kCache: call.cache.k.host,
        vCache: call.cache.v.host,
        // Alignment is bottom right: a causal query is the last one of the sequence up to it.
        cacheSeqlens: nKeys - nQueries + i + 1,
        ...(pages
          ? { blockTable: pages.blockTable.subarray(b * pages.width, (b + 1) * pages.width) }
          : { cacheBatchIdx: [b] }),
        causal: true,
        ...call.referenceOf(i),
      });
      return { expected: out.data, firstIndex };
    }),
  );
}
