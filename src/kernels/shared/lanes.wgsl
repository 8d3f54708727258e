// lanes: how the invocations of a workgroup are numbered, and how those that share a row exchange numbers; bounds of
// loops.
//
// Variants:
//   SUBGROUPS   invocations exchange by subgroup operations
//   ROLLED      compilers are kept from unrolling loops of known length

import constants::ROW_LANE_BITS;

// The bound of loops that break out earlier.
const MANY = 0x7fffffffu;
// Loops of N steps run to max(N, ROLLED_LOOP) and break at N. With ROLLED, compilers do not see the length then: drivers
// that compile for a CPU unroll every short loop whose length they know, and take seconds for it.
@if(ROLLED)  const ROLLED_LOOP = MANY;
@if(!ROLLED) const ROLLED_LOOP = 0u;

// Only the first counts: variables of fewer than 16 bytes would move the vectors behind them off 16-byte boundaries, and
// drivers then load these in pieces.
@if(SUBGROUPS) var<workgroup> next_invocation: array<atomic<u32>, 4>;

// Prepares the numbering. It must come before the first call of invocation_by_subgroup.
@if(SUBGROUPS) fn number_subgroups(local: u32) {
  start_numbering(local);
  workgroupBarrier();
}

// The same, where a barrier follows anyway.
@if(SUBGROUPS) fn start_numbering(local: u32) {
  if (local == 0u) { atomicStore(&next_invocation[0], 0u); }
}

// The number of an invocation, counted subgroup by subgroup. Drivers choose which invocations form a subgroup: numbered
// so, neighbours lie in one, whatever the choice.
@if(SUBGROUPS) fn invocation_by_subgroup(size: u32, subgroup_lane: u32) -> u32 {
  var first = 0u;
  if (subgroup_lane == 0u) { first = atomicAdd(&next_invocation[0], size); }
  return subgroupBroadcastFirst(first) + subgroup_lane;
}

// Of the 2^ROW_LANE_BITS neighbours that share a row: the largest of their numbers, and the sum.
@if(SUBGROUPS) fn max_of_lanes(own: f32) -> f32 {
  var largest = own;
  @unroll for (var bit = 0u; bit < ROW_LANE_BITS; bit++) { largest = max(largest, subgroupShuffleXor(largest, 1u << bit)); }
  return largest;
}

@if(SUBGROUPS) fn sum_of_lanes(own: f32) -> f32 {
  var sum = own;
  @unroll for (var bit = 0u; bit < ROW_LANE_BITS; bit++) { sum += subgroupShuffleXor(sum, 1u << bit); }
  return sum;
}
