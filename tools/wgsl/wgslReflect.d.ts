// The package declares its types for its main entry only, which Node cannot import.
declare module 'wgsl_reflect/wgsl_reflect.module.js' {
  export * from 'wgsl_reflect';
}
