// write_two: two neighbouring outputs of a row, those beyond the end left out.

fn write_two(row: u32, out: u32, pair: vec2f) {
  if (out >= shape.n_out) { return; }
  let has_second = out + 1u < shape.n_out;
  let column = shape.first_column + out;
  var result = pair;
  if (HAS_BIAS) {
    result.x += bias[column];
    if (has_second) { result.y += bias[column + 1u]; }
  }
  write_pair(row * shape.y_columns + column, result, has_second);
}
