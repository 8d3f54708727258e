// threads: how the invocations of a workgroup are numbered, and how far their loops may go.
//
// Variants:
//   SUBGROUPS   threads exchange by subgroup operations
//   ROLLED      loops of known length are kept from being unrolled by the compiler

const MANY = 0x7fffffffu;  // a bound for loops that break out earlier
// Drivers that compile for a CPU unroll every short loop whose length they know, and take seconds for it.
@if(ROLLED)  const ROLLED_LOOP = MANY;
@if(!ROLLED) const ROLLED_LOOP = 0u;

@if(SUBGROUPS) var<workgroup> next_thread: atomic<u32>;

// Before the first call of thread_by_subgroup.
@if(SUBGROUPS) fn number_subgroups(local: u32) {
  if (local == 0u) { atomicStore(&next_thread, 0u); }
  workgroupBarrier();
}

// Which invocations form a subgroup is the driver's choice, so threads are numbered by subgroup: then neighbours lie
// in one of them, whatever the choice.
@if(SUBGROUPS) fn thread_by_subgroup(size: u32, subgroup_lane: u32) -> u32 {
  var first = 0u;
  if (subgroup_lane == 0u) { first = atomicAdd(&next_thread, size); }
  return subgroupBroadcastFirst(first) + subgroup_lane;
}
