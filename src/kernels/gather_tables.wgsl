// gather_tables: the `tables` of the attention kernels where lengths, slopes or sinks are on the GPU.
//
//   in   sequences     [B]                Sequence   where the host knows them all; then the next three are not read
//   in   cu_seqlens_q  [B + 1]            i32
//   in   cu_seqlens_k  [B + 1]            i32
//   in   seqused_k     [B]                i32
//   in   slopes        [B or 1, n_heads]  f32, or packed halves
//   in   sinks         [n_heads]          f32, or packed halves
//   out  tables        words: Sequence [B], slopes, sinks
//
// One invocation writes one sequence, or one slope, or one sink. Lengths are clamped to what the tensors hold, so that
// no kernel after this one can reach outside of them, whatever the lengths say.

import package::elements::{half_from_f16, half_from_bf16};

const WG_SIZE = 64u;

struct Params {
  batch: u32,
  total_q: i32,
  total_k: i32,           // tokens, or with pages what a row of the block table can hold
  max_seqlen_q: i32,
  max_seqlen_k: i32,
  has_sequences: u32,
  has_cu_k: u32,
  has_seqused: u32,
  paged: u32,
  q_base: u32,            // where each tensor starts, and its strides, in elements
  k_base: u32,
  v_base: u32,
  out_base: u32,
  lse_base: u32,
  table_base: u32,
  q_sequence: u32,
  k_sequence: u32,
  v_sequence: u32,
  out_sequence: u32,
  lse_sequence: u32,
  table_row: u32,
  q_token: u32,
  k_token: u32,
  v_token: u32,
  out_token: u32,
  lse_token: u32,
  cu_q_base: u32,
  cu_k_base: u32,
  seqused_base: u32,
  n_heads: u32,
  n_slopes: u32,
  slopes_base: u32,
  slopes_row: u32,
  slopes_type: u32,       // F32, F16 or BF16
  n_sinks: u32,
  sinks_base: u32,
  sinks_type: u32,
}

const F16 = 1u;
const BF16 = 2u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> cu_seqlens_q: array<i32>;
@group(0) @binding(2) var<storage, read> cu_seqlens_k: array<i32>;
@group(0) @binding(3) var<storage, read> seqused_k: array<i32>;
@group(0) @binding(4) var<storage, read> slopes: array<u32>;
@group(0) @binding(5) var<storage, read> sinks: array<u32>;
@group(0) @binding(6) var<storage, read> sequences: array<u32>;
@group(0) @binding(7) var<storage, read_write> tables: array<u32>;

@compute @workgroup_size(WG_SIZE)
fn gather_tables(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let job = (workgroup_id.y * grid.x + workgroup_id.x) * WG_SIZE + local;
  let slope = job - params.batch;
  let sink = slope - params.n_slopes;
  if (job < params.batch) {
    write_sequence(job);
  } else if (slope < params.n_slopes) {
    tables[params.batch * 8u + slope] = slope_bits(slope);
  } else if (sink < params.n_sinks) {
    tables[params.batch * 8u + params.n_slopes + sink] = sink_bits(sink);
  }
}

fn write_sequence(b: u32) {
  let at = b * 8u;
  if (params.has_sequences != 0u) {
    for (var i = 0u; i < 8u; i++) { tables[at + i] = sequences[at + i]; }
    return;
  }

  let q_start = clamp(cu_seqlens_q[params.cu_q_base + b], 0, params.total_q);
  let q_end = clamp(cu_seqlens_q[params.cu_q_base + b + 1u], q_start, params.total_q);
  let q_len = min(q_end - q_start, params.max_seqlen_q);

  var k_start = 0;
  var k_len = params.total_k;
  if (params.has_cu_k != 0u) {
    let start = max(cu_seqlens_k[params.cu_k_base + b], 0);
    let end = max(cu_seqlens_k[params.cu_k_base + b + 1u], start);
    if (params.paged != 0u) {
      k_len = min(end - start, params.total_k);
    } else {
      k_start = min(start, params.total_k);
      k_len = min(end, params.total_k) - k_start;
    }
  }
  if (params.has_seqused != 0u) { k_len = clamp(seqused_k[params.seqused_base + b], 0, k_len); }
  k_len = min(k_len, params.max_seqlen_k);

  tables[at] = u32(q_len);
  tables[at + 1u] = u32(k_len);
  tables[at + 2u] = params.q_base + b * params.q_sequence + u32(q_start) * params.q_token;
  tables[at + 3u] = params.k_base + b * params.k_sequence + u32(k_start) * params.k_token;
  tables[at + 4u] = params.v_base + b * params.v_sequence + u32(k_start) * params.v_token;
  tables[at + 5u] = params.out_base + b * params.out_sequence + u32(q_start) * params.out_token;
  tables[at + 6u] = params.lse_base + b * params.lse_sequence + u32(q_start) * params.lse_token;
  tables[at + 7u] = params.table_base + b * params.table_row;
}

fn slope_bits(slope: u32) -> u32 {
  let at = params.slopes_base + slope / params.n_heads * params.slopes_row + slope % params.n_heads;
  if (params.slopes_type == F16) { return bitcast<u32>(half_from_f16(slopes[at / 2u], at % 2u == 1u)); }
  if (params.slopes_type == BF16) { return bitcast<u32>(half_from_bf16(slopes[at / 2u], at % 2u == 1u)); }
  return slopes[at];
}

fn sink_bits(sink: u32) -> u32 {
  let at = params.sinks_base + sink;
  if (params.sinks_type == F16) { return bitcast<u32>(half_from_f16(sinks[at / 2u], at % 2u == 1u)); }
  if (params.sinks_type == BF16) { return bitcast<u32>(half_from_bf16(sinks[at / 2u], at % 2u == 1u)); }
  return sinks[at];
}
