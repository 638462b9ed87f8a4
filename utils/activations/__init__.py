"""Activations of a model on disk: written once, read often, shuffled, in constant memory.

    rows = rows_of(documents, bos=tokenizer.bos_token_id, pad=tokenizer.pad_token_id)
    cfg = StoreConfig(hooks=("blocks.10.mlp.hook_in", "blocks.10.hook_mlp_out"))
    store = write_activations(model, rows, folder, cfg)    # stopped? call it again
    reader = store.reader(batch=1024, seed=0)              # of (input, output) for a transcoder
    for x, y in reader: ...                                # state_dict() is the exact position
    test = store.reader(split="held", hooks="blocks.10.mlp.hook_in")

On disk: `index.json` says what the shards are and how many tokens each has. The shards,
`train-00000.safetensors` and so on, hold (token, d) numbers per hook, and each token's row and
position.
"""

from utils.activations.index import StoreConfig, StoreError
from utils.activations.read import ActivationStore, Reader, open_store
from utils.activations.write import write_activations

__all__ = [
    "ActivationStore",
    "Reader",
    "StoreConfig",
    "StoreError",
    "open_store",
    "write_activations",
]
