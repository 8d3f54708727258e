import { Digest } from '../model/digest.js';
import type { OpenModel } from '../model/openModel.js';
import type { EngineSettings } from './engineOptions.js';

export interface FingerprintArgs {
  readonly model: OpenModel;
  readonly settings: EngineSettings;
  /** `ModelWeights.digest` */
  readonly weightsDigest: string;
  readonly device: GPUDevice;
}

/**
 * A name for all that decides about keys and values, for people to read. Angles may depend on the context, and the last
 * bits on the GPU.
 */
export async function fingerprintOf({
  model: { name, config },
  settings: { weights, kvType, rotaryType, context },
  weightsDigest,
  device,
}: FingerprintArgs): Promise<string> {
  const digest = new Digest();
  digest.add(new TextEncoder().encode(JSON.stringify(config)));
  const {
    vendor,
    architecture,
    device: chip,
    description,
  }: Partial<GPUAdapterInfo> = device.adapterInfo ?? {};
  const gpu = [vendor, architecture, chip, description].filter(Boolean).join(' ') || 'a GPU without a name';
  return `${name}, config ${await digest.hex()}, weights ${weightsDigest} in ${weights}, cache in ${kvType}, angles in ${rotaryType}, context ${context}, ${gpu}`;
}
