import { grid2d, type Dispatch } from '../core/dispatch.js';
import type { AttentionProblem } from '../problem/attentionProblem.js';
import { sparesMaskMod } from '../problem/blockMask.js';
import { masksByPosition, masksByTree } from '../problem/tokenMasks.js';
import maskTilesKernel from './mask_tiles.wgsl';
import { withBuffers } from './shared/optionalBuffers.js';
import { attentionParams, type AttentionWork, type TileLinks } from './shared/attention.js';

/** Whether a problem has masks that tiles are classified by. */
export function classifiesTiles({ mask, blocks }: Pick<AttentionProblem, 'mask' | 'blocks'>): boolean {
  return mask !== null || blocks !== null;
}

/**
 * Room for the links of some items.
 *
 * @param mostTiles tiles that an item visits at most. Where lengths are on the GPU, a band may touch a tile more than the
 *   longest sequence does, and first keys another one
 */
export function tileLinks(
  { nKvHeads, mask, blocks }: AttentionProblem,
  items: { readonly first: number; readonly count: number },
  mostTiles: number,
  name: string,
): TileLinks {
  const tiles = mostTiles + 2;
  const areShared = (mask?.headStride ?? 0) === 0 && (blocks?.heads ?? 1) === 1;
  const heads = areShared ? 1 : nKvHeads;
  return {
    links: { scratch: name, bytes: 4 * items.count * heads * tiles },
    firstItem: items.first,
    perItem: heads * tiles,
    perHead: heads > 1 ? tiles : 0,
  };
}

/** Links the tiles of all items of a work list: once a step. */
export function maskTilesDispatch(
  work: AttentionWork,
  tile: { readonly rows: number; readonly keys: number },
): Dispatch {
  const { problem, batchInfo, range, links, maxWorkgroupsPerDimension } = work;
  const { masks, mask, blocks } = problem;
  const heads = links!.perHead > 0 ? problem.nKvHeads : 1;
  const [firstKeys, positions, tree] = [masks.firstKeys > 0, masksByPosition(masks), masksByTree(masks)];
  const bindings = {
    batch_info: batchInfo,
    ...(mask && { mask: mask.tensor }),
    links: links!.links,
  };
  return {
    kernel: withBuffers(maskTilesKernel, bindings),
    spec: {
      WG_SIZE: 64,
      TILE_ROWS: tile.rows,
      TILE_KEYS: tile.keys,
      MASK: mask !== null,
      BLOCKS: blocks !== null,
      MASK_MOD: Boolean(problem.mods?.maskMod),
      FULL_BLOCKS: sparesMaskMod(problem),
      FIRST_KEYS: firstKeys,
      SKIPS: firstKeys,
      BY_TOKEN: positions || tree,
      POSITIONS: positions,
      TREE: tree,
    },
    perStep: true,
    params: { ...attentionParams(work), n_kv_heads: heads },
    bindings,
    grid: grid2d((range[1] - range[0]) * heads, maxWorkgroupsPerDimension),
  };
}

export { maskTilesKernel };
