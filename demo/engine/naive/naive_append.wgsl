// naive_append: rotates queries and new keys, and writes new keys and values into the cache.
//
//   in   qkv      [rows, N_HEADS + 2 N_KV_HEADS, HEAD_DIM]   f32 or f16
//   in   places   [rows]                                     (slot, position) of each row
//   in   cosines  [positions, ROTARY_DIM / 2]                f32
//   in   sines    [positions, ROTARY_DIM / 2]                f32
//   out  q        [rows, N_HEADS, HEAD_DIM]                  as qkv
//   out  k_cache  [slots, CAPACITY, N_KV_HEADS, HEAD_DIM]    as qkv
//   out  v_cache  [slots, CAPACITY, N_KV_HEADS, HEAD_DIM]    as qkv
//
// An invocation per pair of neighbouring elements. With INTERLEAVED these are turned together, else element t and
// t + ROTARY_DIM / 2 are:
//   x' = x cos - y sin      y' = x sin + y cos

override ROTARY_DIM: u32;
override INTERLEAVED: bool;

@group(0) @binding(0) var<storage, read> qkv: array<Pair>;
@group(0) @binding(1) var<storage, read> places: array<vec2u>;
@group(0) @binding(2) var<storage, read> cosines: array<f32>;
@group(0) @binding(3) var<storage, read> sines: array<f32>;
@group(0) @binding(4) var<storage, read_write> q: array<Pair>;
@group(0) @binding(5) var<storage, read_write> k_cache: array<Pair>;
@group(0) @binding(6) var<storage, read_write> v_cache: array<Pair>;

@compute @workgroup_size(WG_SIZE)
fn naive_append(@builtin(global_invocation_id) id: vec3u) {
  let n_heads = N_HEADS + 2u * N_KV_HEADS;
  let head = id.x / (HEAD_DIM / 2u);
  let pair = id.x % (HEAD_DIM / 2u);
  let row = id.y;
  if (head >= n_heads) { return; }
  let base = (row * n_heads + head) * (HEAD_DIM / 2u);
  let place = places[row];
  if (head < N_HEADS) {
    q[(row * N_HEADS + head) * (HEAD_DIM / 2u) + pair] = packed(rotated(base, pair, place.y));
  } else if (head < N_HEADS + N_KV_HEADS) {
    k_cache[key_base(place.x, place.y, head - N_HEADS) + pair] = packed(rotated(base, pair, place.y));
  } else {
    v_cache[key_base(place.x, place.y, head - N_HEADS - N_KV_HEADS) + pair] = qkv[base + pair];
  }
}

fn rotated(base: u32, pair: u32, position: u32) -> vec2f {
  let elements = unpacked(qkv[base + pair]);
  let angles = position * (ROTARY_DIM / 2u);
  if (2u * pair >= ROTARY_DIM) { return elements; }
  if (INTERLEAVED) {
    let cosine = cosines[angles + pair];
    let sine = sines[angles + pair];
    return vec2f(elements.x * cosine - elements.y * sine, elements.x * sine + elements.y * cosine);
  }
  return vec2f(
    rotated_half(base, 2u * pair, elements.x, angles),
    rotated_half(base, 2u * pair + 1u, elements.y, angles),
  );
}

fn rotated_half(base: u32, element: u32, value: f32, angles: u32) -> f32 {
  let n_angles = ROTARY_DIM / 2u;
  if (element >= ROTARY_DIM) { return value; }
  let t = element % n_angles;
  if (element < n_angles) { return value * cosines[angles + t] - element_at(base, element + n_angles) * sines[angles + t]; }
  return element_at(base, t) * sines[angles + t] + value * cosines[angles + t];
}

fn element_at(base: u32, element: u32) -> f32 {
  let pair = unpacked(qkv[base + element / 2u]);
  return select(pair.x, pair.y, element % 2u == 1u);
}
