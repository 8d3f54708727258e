/**
 * Flags as the WebGPU specification numbers them. Browsers have them as globals; in Node they are globals only if a
 * program makes them so, which nothing here asks for.
 */
export const BUFFER_USAGE = {
  MAP_READ: 0x0001,
  COPY_SRC: 0x0004,
  COPY_DST: 0x0008,
  UNIFORM: 0x0040,
  STORAGE: 0x0080,
  QUERY_RESOLVE: 0x0200,
} as const;

export const MAP_MODE = { READ: 0x0001 } as const;

export const SHADER_STAGE = { COMPUTE: 0x4 } as const;
