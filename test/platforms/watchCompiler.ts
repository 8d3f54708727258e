export interface Compiled {
  readonly compiled: readonly string[];
  readonly refused: readonly string[];
}

interface Watched {
  readonly label: string;
  readonly isRefused: Promise<boolean>;
}

/** Notes each shader module that any device makes, and whether the compiler refused it. */
export function watchCompiler(): { take(): Promise<Compiled> } {
  let modules: Watched[] = [];
  const { createShaderModule } = GPUDevice.prototype;
  GPUDevice.prototype.createShaderModule = function watched(this: GPUDevice, descriptor) {
    const module = createShaderModule.call(this, descriptor);
    // Asked at once: Chrome may never answer who asks when the device has nothing else to do.
    const isRefused = module.getCompilationInfo().then(
      ({ messages }) => messages.some(({ type }) => type === 'error'),
      () => false, // a lost device has nothing to say
    );
    modules.push({ label: module.label, isRefused });
    return module;
  };
  return {
    async take() {
      const taken = modules;
      modules = [];
      const refused: string[] = [];
      for (const { label, isRefused } of taken) if (await isRefused) refused.push(label);
      return { compiled: taken.map(({ label }) => label), refused };
    },
  };
}
