// block_masks: which blocks of keys the tokens of a block of queries see (BLOCKS). A block of query tokens has a row of bits,
// one for each block of keys, in batch_info behind positions and trees:
//
//   blocks_at  u32 [B or 1, n_heads or 1, blocks of query tokens, blocks_row]
//
// With FULL_BLOCKS there are as many words more behind them, with bits for those blocks about which mask_mod is not asked.

import package::shared::attention::params;
import package::shared::batch_info::batch_info;

// Where the bits of a token's block begin.
@if(BLOCKS) fn block_row_of(sequence_index: u32, token: u32, head: u32) -> u32 {
  let row = params.blocks_at + sequence_index * params.blocks_sequence + head * params.blocks_head;
  return row + token / params.block_tokens * params.blocks_row;
}

// Whether four neighbouring keys are in blocks that a row has a bit for. Of keys that the sequence does not have, anything.
@if(BLOCKS) fn in_blocks(row: u32, key: vec4i) -> vec4<bool> {
  let block = vec4u(key) / params.block_keys;
  if (block.x == block.w) { return vec4<bool>(has_block(row, block.x)); }
  return vec4<bool>(has_block(row, block.x), has_block(row, block.y), has_block(row, block.z), has_block(row, block.w));
}

@if(BLOCKS) fn has_block(row: u32, block: u32) -> bool {
  let at = min(block, params.n_blocks - 1u);
  return ((batch_info[row + at / 32u] >> (at % 32u)) & 1u) != 0u;
}
