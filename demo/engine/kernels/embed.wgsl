// embed: rows of the embedding matrix, by token.
//
//   in   row_count  u32
//   in   tokens     [row_count]               i32    t ≥ 0: a token; t < 0: the token sampled[-1 - t]
//   in   sampled    [slots]                   u32    what the step before has sampled, which the host does not know yet
//   in   weights    [n_rows, n_groups · 32]   elements/weights_*, the rows from first_row on
//   in   scales     [n_rows, n_groups]        f16, where weights are i8 or i4
//   out  ids        [row_count]               u32    the tokens
//   out  y          [row_count, n_in]         f32    their rows, times SCALE
//
// Workgroups (i, row) have 64 quads of a row each, an invocation one. A token beyond the vocabulary is its last one. Of a
// matrix in several parts, each writes the rows that it has.

override SCALE = 1.0;

struct Shape {
  n_in: u32,
  n_groups: u32,       // groups of 32 inputs
  first_row: u32,
  n_rows: u32,
  n_tokens: u32,       // of the vocabulary
}

@group(0) @binding(0) var<uniform> row_count: u32;
@group(0) @binding(1) var<uniform> shape: Shape;
@group(0) @binding(2) var<storage, read> tokens: array<i32>;
@group(0) @binding(3) var<storage, read> sampled: array<u32>;
@group(0) @binding(4) var<storage, read> weights: array<Word>;
@group(0) @binding(5) var<storage, read_write> ids: array<u32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn embed(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) local: u32) {
  let row = id.y;
  if (row >= row_count) { return; }
  let token = token_of(row);
  let quad = id.x * 64u + local;
  if (quad == 0u) { ids[row] = token; }
  // For tokens of parts before this one, the difference wraps round.
  let matrix_row = token - shape.first_row;
  if (matrix_row >= shape.n_rows || quad * 4u >= shape.n_in) { return; }
  let stored = word_of(quad);
  let word = weights[matrix_row * (shape.n_groups * 8u / WORD_QUADS) + stored.at];
  let scale = weight_scale(matrix_row, stored.at * WORD_QUADS / 8u);
  let numbers = weight_quad(word, stored.place) * (scale * SCALE);
  let n = min(shape.n_in - quad * 4u, 4u);
  let at = row * shape.n_in + quad * 4u;
  y[at] = numbers.x;
  if (n > 1u) { y[at + 1u] = numbers.y; }
  if (n > 2u) { y[at + 2u] = numbers.z; }
  if (n > 3u) { y[at + 3u] = numbers.w; }
}

fn token_of(row: u32) -> u32 {
  let token = tokens[row];
  var id = u32(token);
  if (token < 0) { id = sampled[u32(-1 - token)]; }
  return min(id, shape.n_tokens - 1u);
}
