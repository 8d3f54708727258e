export interface Compiled {
  readonly compiled: readonly string[];
  readonly refused: readonly string[];
}

/** Notes each shader module that any device makes, and what the compiler has against it. */
export function watchCompiler(): { take(): Promise<Compiled> } {
  let modules: GPUShaderModule[] = [];
  const { createShaderModule } = GPUDevice.prototype;
  GPUDevice.prototype.createShaderModule = function watched(this: GPUDevice, descriptor) {
    const module = createShaderModule.call(this, descriptor);
    modules.push(module);
    return module;
  };
  return {
    async take() {
      const taken = modules;
      modules = [];
      const refused: string[] = [];
      for (const module of taken) {
        // A lost device may have nothing to say.
        const info = await module.getCompilationInfo().catch(() => undefined);
        if (info?.messages.some(({ type }) => type === 'error')) refused.push(module.label);
      }
      return { compiled: taken.map(({ label }) => label), refused };
    },
  };
}
