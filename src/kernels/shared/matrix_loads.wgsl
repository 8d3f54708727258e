// matrix_loads: octets of queries, keys and values, loaded into registers, where they wait until they are put into the tiles of
// attn_matrix (matrix_staging). Dims beyond the head are zeros.
//
// Of a quantised cache (see octets) codes wait. Tiles hold e4m3 and codes of i8 as they are: scores and outputs are multiplied
// by the scales of heads (KV_E4M3), scores and weights by those of keys (KV_I8, see matrix_scales). Codes of i4 are multiplied
// by the scales of their groups on their way into the tiles.
//
// Variants:
//   those of octets, key_offsets and kv_scales
//   Q_RAW       queries wait as they are stored: Q_WIDE and Q_HALVES
//   RAW         and so do keys and values: KV_WIDE and KV_HALVES
//   PADDED      a head is smaller than its place in tiles
//   KV_SCALED    see matrix_peaks

import package::shared::attention::{params, Job, token_of, head_of};
import package::shared::band::Band;
@if(Q_F16)   import package::shared::elements::quad_from_f16 as quad_from_q;
@if(Q_BF16)  import package::shared::elements::quad_from_bf16 as quad_from_q;
@if(KV_F16)  import package::shared::elements::quad_from_f16 as quad_from_kv;
@if(KV_BF16) import package::shared::elements::quad_from_bf16 as quad_from_kv;
@if(KV_E4M3) import package::shared::elements::E4M3_UNIT;
import package::shared::key_offsets::{k_offset, v_offset, is_in_page};
@if(KV_I4) import package::shared::kv_scales::{StoredScale, scale_from, stored_key_scale, stored_value_scale};
import package::shared::matrix_tiles::{K_OCTETS, V_OCTETS};
import package::shared::octets::{Octet, q_octet, k_octet, v_octet, q, k, v};
@if(KV_QUANTISED) import package::shared::octets::{Codes, k_codes, v_codes, octet_of_codes};
import constants::{WG_SIZE, TILE_KEYS, K_LOADS, V_LOADS};

@if(Q_RAW)  alias LoadedQuery = vec4u;
@if(!Q_RAW) alias LoadedQuery = Octet;
@if(RAW)                    alias Loaded = vec4u;
@if(!RAW && !KV_QUANTISED)  alias Loaded = Octet;
@if(KV_QUANTISED && !KV_I4) alias Loaded = Codes;
@if(KV_I4)                  alias Loaded = ScaledCodes;

// Codes with the scale of their group.
@if(KV_I4) struct ScaledCodes {
  codes: Codes,
  scale: StoredScale,
}

// Loads octet number `index` of the queries that go through the tiles in one turn, which are those of the rows from `first` on.
// Rows past the end are the last one again: their results are never stored.
//
// Here as for keys and values, what is requested where there is no such dim or page may be anything, and `received_...` puts
// zeros in its place. That looks at what was loaded, and so waits for it: it comes when all else has been requested.
fn request_query(job: Job, first: u32, index: u32) -> LoadedQuery {
  let row = min(job.first_row + first + index / K_OCTETS, job.n_rows - 1u);
  let dim = index % K_OCTETS * 8u;
  let at = job.sequence.q_base + token_of(row) * params.q_token + head_of(job, row) * params.q_head + dim;
  @if(Q_RAW) return q[at / 8u];
  @if(!Q_RAW) {
    @if(PADDED) if (dim >= params.head_dim) { return LoadedQuery(); }
    return q_octet(at, params.head_dim - dim);
  }
}

fn received_query(loaded: LoadedQuery, index: u32) -> LoadedQuery {
  @if(Q_RAW && PADDED)    return select(vec4u(), loaded, index % K_OCTETS * 8u < params.head_dim);
  @if(!(Q_RAW && PADDED)) return loaded;
}

fn octet_of_query(loaded: LoadedQuery) -> Octet {
  @if(Q_RAW)  return Octet(quad_from_q(loaded.xy), quad_from_q(loaded.zw));
  @if(!Q_RAW) return loaded;
}

// Loads octet number `index` of the keys of a tile, key by key. Beyond the end of the tile there are none.
fn request_key(job: Job, seen: Band, tile: u32, index: u32) -> Loaded {
  let tile_key = index / K_OCTETS;
  if (K_LOADS * WG_SIZE > TILE_KEYS * K_OCTETS && tile_key >= TILE_KEYS) { return Loaded(); }
  let dim = index % K_OCTETS * 8u;
  let at = k_offset(job.sequence, seen, tile, tile_key) + job.kv_head * params.k_head + dim;
  @if(!KV_WIDE) if (!has_key(tile, index)) { return Loaded(); }
  @if(RAW)                    return k[at / 8u];
  @if(!RAW && !KV_QUANTISED)  return k_octet(at, params.head_dim - dim);
  @if(KV_QUANTISED && !KV_I4) return k_codes(at, params.head_dim - dim);
  @if(KV_I4) return ScaledCodes(
    k_codes(at, params.head_dim - dim), stored_key_scale(job.sequence, job.kv_head, seen, tile, tile_key, dim),
  );
}

// In place of a value that no row of the tile sees there is the nearest one that is seen: others may be NaN, and 0 · NaN is
// NaN. Those without a page are zeros.
fn request_value(job: Job, seen: Band, tile: u32, index: u32) -> Loaded {
  let tile_key = index / V_OCTETS;
  if (V_LOADS * WG_SIZE > TILE_KEYS * V_OCTETS && tile_key >= TILE_KEYS) { return Loaded(); }
  let dim = index % V_OCTETS * 8u;
  let at = v_offset(job.sequence, seen, tile, tile_key) + job.kv_head * params.v_head + dim;
  @if(!KV_WIDE) if (!has_value(tile, index)) { return Loaded(); }
  @if(RAW)                    return v[at / 8u];
  @if(!RAW && !KV_QUANTISED)  return v_octet(at, params.head_dim_v - dim);
  @if(KV_QUANTISED && !KV_I4) return v_codes(at, params.head_dim_v - dim);
  @if(KV_I4) return ScaledCodes(
    v_codes(at, params.head_dim_v - dim), stored_value_scale(job.sequence, job.kv_head, seen, tile, tile_key, dim),
  );
}

// What was requested, with zeros where there is nothing.
fn received_key(loaded: Loaded, tile: u32, index: u32) -> Loaded {
  return loaded_if(loaded, has_key(tile, index));
}

fn received_value(loaded: Loaded, tile: u32, index: u32) -> Loaded {
  return loaded_if(loaded, has_value(tile, index));
}

// Both steps at once.
fn load_key(job: Job, seen: Band, tile: u32, index: u32) -> Loaded {
  return received_key(request_key(job, seen, tile, index), tile, index);
}

fn load_value(job: Job, seen: Band, tile: u32, index: u32) -> Loaded {
  return received_value(request_value(job, seen, tile, index), tile, index);
}

// Whether there is such an octet of a key. A key without a page is some other one, whose score is masked, but it must not set
// a peak.
fn has_key(tile: u32, index: u32) -> bool {
  var is_there = true;
  @if(PADDED) is_there = index % K_OCTETS * 8u < params.head_dim;
  @if(PAGED && KV_SCALED) is_there &= is_in_page(tile, index / K_OCTETS);
  return is_there;
}

fn has_value(tile: u32, index: u32) -> bool {
  var is_there = true;
  @if(PADDED) is_there = index % V_OCTETS * 8u < params.head_dim_v;
  @if(PAGED)  is_there &= is_in_page(tile, index / V_OCTETS);
  return is_there;
}

// What was loaded, or zeros.
fn loaded_if(loaded: Loaded, is_there: bool) -> Loaded {
  @if(RAW)                    return select(vec4u(), loaded, is_there);
  @if(!RAW && !KV_QUANTISED)  return Octet(select(vec4f(), loaded.low, is_there), select(vec4f(), loaded.high, is_there));
  @if(KV_QUANTISED && !KV_I4) return select(Codes(), loaded, is_there);
  @if(KV_I4) {
    var kept = loaded;
    kept.scale.is_there &= is_there;
    return kept;
  }
}

// Elements or codes, times a factor.
fn octet_of(loaded: Loaded, factor: f32) -> Octet {
  @if(RAW)                    let octet = Octet(quad_from_kv(loaded.xy), quad_from_kv(loaded.zw));
  @if(!RAW && !KV_QUANTISED)  let octet = loaded;
  @if(KV_QUANTISED && !KV_I4) let octet = octet_of_codes(loaded);
  @if(KV_I4)                  let octet = octet_of_codes(loaded.codes);
  return Octet(octet.low * factor, octet.high * factor);
}

// What codes are multiplied by to be elements, besides the scales of keys and heads.
fn scale_of_codes(loaded: Loaded) -> f32 {
  @if(KV_I4)   return scale_from(loaded.scale);
  @if(KV_E4M3) return E4M3_UNIT;
  @if(!KV_I4 && !KV_E4M3) return 1.0;
}
