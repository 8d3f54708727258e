// products: outer products of quads in registers.

// Of four outputs: their weights for the same four inputs; transposed, the four outputs' weights for each input.
struct Four {
  a: vec4f,
  b: vec4f,
  c: vec4f,
  d: vec4f,
}

fn transposed(f: Four) -> Four {
  return Four(
    vec4f(f.a.x, f.b.x, f.c.x, f.d.x), vec4f(f.a.y, f.b.y, f.c.y, f.d.y),
    vec4f(f.a.z, f.b.z, f.c.z, f.d.z), vec4f(f.a.w, f.b.w, f.c.w, f.d.w),
  );
}

// sum + inputs.x a + inputs.y b + ...
fn add_products(sum: vec4f, inputs: vec4f, f: Four) -> vec4f {
  let two = fma(vec4f(inputs.y), f.b, fma(vec4f(inputs.x), f.a, sum));
  return fma(vec4f(inputs.w), f.d, fma(vec4f(inputs.z), f.c, two));
}
