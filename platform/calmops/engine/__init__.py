"""Engine: steps to tokens. Checkpoint, tensor parallelism, KV cache, sampler, detokenizer, runner. Knows no Ray."""
