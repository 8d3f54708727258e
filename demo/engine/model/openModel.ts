import { Checkpoint } from '../files/safetensors.js';
import type { ModelFiles } from '../files/modelFiles.js';
import { readConfig, type ModelConfig } from './config.js';
import { findPieces, type CheckpointPieces } from './tensorNames.js';

/** A model whose weights are still in their files. */
export interface OpenModel {
  /** In messages, such as the path of its folder or its id. */
  readonly name: string;
  readonly config: ModelConfig;
  readonly checkpoint: Checkpoint;
  /** All tensors that it needs, each of which the checkpoint has. */
  readonly pieces: CheckpointPieces;
}

/**
 * Reads what a model is: its config.json, and the headers of its weights.
 *
 * @throws EngineError for a model that cannot be run, or whose weights do not fit its config.json
 */
export async function openModel(files: ModelFiles): Promise<OpenModel> {
  const config = await readConfig(files);
  const checkpoint = await Checkpoint.open(files);
  return { name: files.name, config, checkpoint, pieces: findPieces(config, checkpoint) };
}
