import { Tensor } from '@huggingface/transformers';
import { MODEL } from '../../examples/onnxruntime/model.js';
import { causalLM } from '../../examples/transformers/causalLM.js';
import { countReads } from '../../tools/countReads.js';
import { assertEqual } from '../platforms/gpuCase.js';
import { openDecoder, wholeLogits } from './decoderModel.js';

const { vocab, hidden, nHeads, nLayers } = MODEL;
const N_NEW = 8;

globalThis.checkExample = async () => {
  const { device, decoder, errors } = await openDecoder(1);
  const config = {
    model_type: 'llama',
    vocab_size: vocab,
    num_hidden_layers: nLayers,
    num_attention_heads: nHeads,
    hidden_size: hidden,
    eos_token_id: null,
  };
  const model = causalLM(config, decoder);
  // The second begins a new chat in the same pages.
  for (const prompt of [
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
    [40, 2, 30],
  ]) {
    let answer: number[] = [];
    const reads = await countReads(device, async () => {
      const tensor = (values: readonly number[]) =>
        new Tensor('int64', BigInt64Array.from(values, BigInt), [1, prompt.length]);
      const sequences = await model.generate({
        input_ids: tensor(prompt),
        attention_mask: tensor(prompt.map(() => 1)),
        max_new_tokens: N_NEW,
        do_sample: false,
      });
      answer = Array.from(sequences.data, Number);
    });
    assertEqual(answer, await greedy(prompt), 'tokens');
    assertEqual(reads.buffers, N_NEW, 'buffers mapped');
    assertEqual(reads.bytes, N_NEW * vocab * 4, 'bytes read back: the logits of a token each');
  }
  await model.dispose();
  assertEqual(errors.join('\n'), '', 'errors of the device');
};

/** The prompt and the most likely tokens after it. */
async function greedy(prompt: readonly number[]): Promise<number[]> {
  const tokens = [...prompt];
  while (tokens.length < prompt.length + N_NEW) {
    const last = Array.from(await wholeLogits(tokens)).slice(-vocab);
    tokens.push(last.indexOf(Math.max(...last)));
  }
  return tokens;
}
