"""Export writes weights, configurations, tokenizer files and digests into a release folder.

It is the last station before serving. It knows file formats, and nothing of training.
"""

from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import GenerationConfig, PreTrainedModel

from calmops.foundation.release import write_release
from calmops.training.data.tokenizer import save_tokenizer

ALIBI_CONTEXT = 1024  # tokens; stated for models that have no table of positions


def export_release(model: PreTrainedModel, tokenizer: Tokenizer, folder: Path, *, dtype: torch.dtype) -> None:
    """Write ``model`` (left as it is) and ``tokenizer`` into ``folder`` as a release with its digests."""
    folder.mkdir(parents=True, exist_ok=True)
    before = model.dtype
    context = int(getattr(model.config, "max_position_embeddings", ALIBI_CONTEXT))
    torch.nn.Module.to(model, dtype)
    model.config.use_cache = True
    model.generation_config = GenerationConfig(bos_token_id=0, eos_token_id=1, pad_token_id=1)
    model.save_pretrained(folder, safe_serialization=True)
    model.config.use_cache = False
    torch.nn.Module.to(model, before)
    save_tokenizer(tokenizer, folder, context=context)
    write_release(folder)
