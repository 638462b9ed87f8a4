# %% [markdown]
# # 3.2.1 SAEs on a language model: load, splice, measure
#
# In Part 3.1 we made the features ourselves. A language model does not tell us its features. All we
# have is an SAE that somebody trained, a folder with a few matrices, and text.
#
# Before we believe what its latents say, three things must be right. We must compute what the SAE
# computes, to the last bias. We must put it into the model at the right place, and be sure that
# nothing else changed. And we must measure how much of the model survives, against something that
# could have done as well by luck.
#
# ## Questions
#
# 1. Six kinds of SAE are published. What is the same in all of them, and what differs?
# 2. How does one find an SAE for a model, a layer and a sparsity?
# 3. How do we replace an activation in the middle of a model, and how do we know that we did?
# 4. What part of the activation does an SAE not explain, and where does that part go?
# 5. Which numbers say that an SAE is good? Which of them can be fooled?
# 6. Why do people leave out the first token?
# 7. What would a bad SAE score, if it has the same number of active latents?
#
# ## Words
#
# | word | meaning here |
# | --- | --- |
# | hook | a named place in a model's forward pass, where one can look or put something else |
# | residual stream $x$ | what all blocks read from and add to; `d_model` numbers per token |
# | $z$, pre-activation | what a latent computes before its nonlinearity |
# | $f$, latents | what the SAE's latents put out for one token: a long vector, mostly 0 |
# | $\hat x$ | the reconstruction; $x - \hat x$ is the **error term** |
# | splice | let the model go on from $\hat x$ (or from something made with it) instead of $x$ |
#
# ## Which model?
#
# All of this runs on a laptop: SmolLM2-135M, a real language model with 30 blocks, and an SAE that
# the course trained on its residual stream. `COURSE_PROFILE=hub` takes GPT-2 small and a published
# SAE instead (that needs a network once), `COURSE_PROFILE=tiny` a story model of four layers. The
# notebook is the same. Numbers in the text are for the default.

# %% tags=["setup"]
import html
import math
from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from utils.given.in_model import measure, sample_rows
from utils.given.sae_directory import SaeRow, course_table, published_table, show_table
from utils.models import language_model, residual_sae
from utils.models.profiles import describe
from utils.plots import language as plots

Params = dict[str, Tensor]  # "W_enc", "b_enc", "W_dec", "b_dec", and "threshold" where there is one

# %% tags=["demo"]
if __name__ == "__main__":
    loaded, sae = language_model(), residual_sae()
    model, tokenizer = loaded.model, loaded.tokenizer
    print(describe(loaded, [sae]))

# %% [markdown]
# ## 1 · What an SAE computes
#
# Every SAE that you will meet has an encoder matrix, a decoder matrix and biases. It begins
# with a linear map and ends with one:
#
# $$z = (x - c\, b_\text{dec})\, W_\text{enc} + b_\text{enc}, \qquad
#   \hat x = f\, W_\text{dec} + b_\text{dec}, \qquad c \in \{0, 1\}.$$
#
# Vectors are rows. Column $l$ of $W_\text{enc}$ is what latent $l$ reads, row $l$ of
# $W_\text{dec}$ is what it writes. Whether $b_\text{dec}$ is subtracted ($c = 1$) depends on who
# trained the SAE: Bricken et al. (2023) do, many later ones don't. `sae_lens` calls it
# `apply_b_dec_to_input`. Nothing warns you if you get it wrong; the SAE just reconstructs badly.

# %% [markdown] tags=["task"]
# Return the pre-activations $z$. `x` may have any number of axes before the last one; `centred`
# says whether $b_\text{dec}$ is subtracted.


# %% tags=["exercise"] exercise="3.2.1.a1" title="Two conventions" difficulty=1 importance=5 minutes=5 skill="reading a configuration"
def sae_preactivations(
    x: Float[Tensor, "*batch d_in"],
    W_enc: Float[Tensor, "d_in latent"],
    b_enc: Float[Tensor, " latent"],
    b_dec: Float[Tensor, " d_in"],
    centred: bool,
) -> Float[Tensor, "*batch latent"]:
    """Compute (x - b_dec) W_enc + b_enc, or x W_enc + b_enc where `centred` is false."""
    return (x - b_dec if centred else x) @ W_enc + b_enc


# %% [markdown] tags=["hint"]
# The two conventions differ in what goes into the matrix product. The bias of the encoder comes
# after it in both.

# %% [markdown] tags=["hint"]
# `x @ W_enc` multiplies the last axis of `x`, however many axes stand before it.

# %% [markdown]
# **From $z$ to $f$.** Here the kinds of SAE differ.
#
# | kind | which latents are active | with which value |
# | --- | --- | --- |
# | ReLU | $z_l > 0$ | $z_l$ |
# | JumpReLU | $z_l > \theta_l$, a threshold for each latent | $z_l$ |
# | TopK | the $k$ largest $z_l$ of the token, if positive | $z_l$ |
# | BatchTopK | trained with $k$ per token *on average*; saved with one threshold, as JumpReLU | $z_l$ |
# | Matryoshka | trained so that its first latents alone reconstruct; used like BatchTopK | $z_l$ |
# | Gated | a second pre-activation is positive | a third one, if positive |
#
# You derived most of these in 3.1.6. What counts now is to be exact.

# %% [markdown] tags=["task"]
# Return the latents of a JumpReLU SAE: $f_l = z_l$ where $z_l > \theta_l$, else 0. The threshold is
# not subtracted, and a latent exactly at its threshold is off. With thresholds that are negative
# there would be negative latents: those are 0, too (as in `sae_lens`).


# %% tags=["exercise"] exercise="3.2.1.a2" title="JumpReLU" difficulty=1 importance=5 minutes=5 skill="boundaries"
def jumprelu_latents(
    z: Float[Tensor, "*batch latent"], threshold: Float[Tensor, " latent"]
) -> Float[Tensor, "*batch latent"]:
    """z where z > threshold and z > 0, else 0."""
    return z.relu() * (z > threshold)


# %% [markdown] tags=["hint"]
# A mask times a value. Is a latent at $z = \theta$ inside or outside?

# %% [markdown] tags=["hint"]
# `z > threshold` compares along the last axis by broadcasting; multiply it with `z.relu()`.

# %% [markdown] tags=["task"]
# Return the latents of a TopK SAE: the `k` largest pre-activations of each token keep their value,
# if it is positive; all others are 0. (Ties at the edge are not tested.) `k` is at most the number
# of latents.


# %% tags=["exercise"] exercise="3.2.1.a3" title="TopK" difficulty=2 importance=4 minutes=6 skill="topk and scatter"
def topk_latents(z: Float[Tensor, "*batch latent"], k: int) -> Float[Tensor, "*batch latent"]:
    """Keep the k largest entries of each row where they are positive; the rest is 0."""
    values, where = z.topk(k, dim=-1)
    return torch.zeros_like(z).scatter(-1, where, values.relu())


# %% [markdown] tags=["hint"]
# `z.topk(k, dim=-1)` gives values and their places. What turns places back into a long vector?

# %% [markdown] tags=["hint"]
# `torch.zeros_like(z).scatter(-1, where, values)` writes `values` at `where`. A row may have fewer
# than `k` positive entries.

# %% [markdown] tags=["task"]
# A Gated SAE (Rajamanoharan et al. 2024) decides and measures separately, with one matrix:
#
# $$\pi = x W_\text{enc} + b_\text{gate}, \qquad
#   m = x\, (W_\text{enc} \odot e^{r}) + b_\text{mag}, \qquad
#   f = \mathbb 1[\pi > 0] \cdot \mathrm{ReLU}(m).$$
#
# $r$ has one number per latent, so $e^{r}$ scales columns. Return $f$; `x` is already centred.


# %% tags=["exercise"] exercise="3.2.1.a4" title="Gated" difficulty=2 importance=3 minutes=7 skill="shared weights"
def gated_latents(
    x: Float[Tensor, "*batch d_in"],
    W_enc: Float[Tensor, "d_in latent"],
    b_gate: Float[Tensor, " latent"],
    r_mag: Float[Tensor, " latent"],
    b_mag: Float[Tensor, " latent"],
) -> Float[Tensor, "*batch latent"]:
    """1[x W_enc + b_gate > 0] · ReLU(x (W_enc ⊙ exp(r_mag)) + b_mag) (Rajamanoharan 2024, eq. 6)."""
    shared = x @ W_enc
    return (shared + b_gate > 0) * (shared * r_mag.exp() + b_mag).relu()


# %% [markdown] tags=["hint"]
# Scaling the columns of a matrix scales the entries of the product. One matrix product is enough.

# %% [markdown] tags=["hint"]
# The magnitude's bias is added after the scaling. The gate is a mask, not a factor.

# %% [markdown]
# ### More traps of real folders
#
# **A constant input scale.** Many SAEs are trained on $s\,x$, with $s$ chosen so that activations
# have norm $\sqrt{d}$ on average. Then the reconstruction is of $s\,x$, too. One can carry $s$ about
# for ever, or put it into the weights once.

# %% [markdown] tags=["task"]
# `params` belong to an SAE that reads $s\,x$ and writes $s\,\hat x$, and that subtracts
# $b_\text{dec}$ from its input. Return new parameters of an SAE that reads $x$ and writes
# $\hat x$, with *the same latents*. Which of the four (or five, with `"threshold"`) change, and how?
# The dictionary that was given stays as it is.


# %% tags=["exercise"] exercise="3.2.1.a5" title="Fold the scale in" difficulty=3 importance=4 minutes=10 skill="an invariance"
def fold_input_scale(params: Params, scale: float) -> Params:
    """Parameters whose SAE on x has the latents of the given one on scale · x.

    Its reconstruction is the given one's divided by `scale`.
    """
    folded = dict(params)
    folded["W_enc"] = params["W_enc"] * scale
    folded["W_dec"] = params["W_dec"] / scale
    folded["b_dec"] = params["b_dec"] / scale
    return folded


# %% [markdown] tags=["hint"]
# Write $z$ for the input $s\,x$, then pull $s$ out of the bracket: $(s x - b) = s\,(x - b / s)$.

# %% [markdown] tags=["hint"]
# The latents are the same, so thresholds and $b_\text{enc}$ have nothing to do. The output must be
# divided by $s$: both terms of it.

# %% [markdown]
# **Attention heads.** An SAE on attention outputs reads all heads of a token at once: the hook gives
# `(batch, pos, head, d_head)`, the SAE wants vectors of length `head · d_head` (Kissane et al. 2024).

# %% [markdown] tags=["task"]
# Return the reconstruction of `z` in the shape of `z`. `encode` and `decode` are functions of rows
# with the heads side by side: head 0 first, then head 1, and so on.


# %% tags=["exercise"] exercise="3.2.1.a6" title="Heads side by side" difficulty=1 importance=4 minutes=6 skill="rearrange"
def through_heads(
    z: Float[Tensor, "*batch head d_head"],
    encode: Callable[[Tensor], Tensor],
    decode: Callable[[Tensor], Tensor],
) -> Float[Tensor, "*batch head d_head"]:
    """decode(encode(flat)) with the last two axes of z flattened, heads outermost; back in shape."""
    flat = z.flatten(-2)
    return decode(encode(flat)).reshape(z.shape)


# %% [markdown] tags=["hint"]
# The last two axes become one. Which of them runs faster in the long vector?

# %% [markdown] tags=["hint"]
# `flatten(-2)` one way, `reshape(z.shape)` the other.

# %% [markdown]
# **Transcoders** read at one place and write at another: the MLP's input and its output (Dunefsky
# et al. 2024). With a skip connection (Paulo et al. 2025) a linear map of the input is added. Its
# matrix is stored as `(d_out, d_in)`, and the library's own splice leaves it out without a word.

# %% [markdown] tags=["task"]
# Return what a transcoder writes: $f\,W_\text{dec} + b_\text{dec}$, and $W_\text{skip}\, x$ for each
# row $x$ where there is a `W_skip`.


# %% tags=["exercise"] exercise="3.2.1.a7" title="A skip path" difficulty=1 importance=4 minutes=5 skill="whose transpose?"
def transcoder_output(
    x: Float[Tensor, "*batch d_in"],
    latents: Float[Tensor, "*batch latent"],
    W_dec: Float[Tensor, "latent d_out"],
    b_dec: Float[Tensor, " d_out"],
    W_skip: Float[Tensor, "d_out d_in"] | None,
) -> Float[Tensor, "*batch d_out"]:
    """latents W_dec + b_dec + W_skip x; without the last term where W_skip is None."""
    written = latents @ W_dec + b_dec
    return written if W_skip is None else written + x @ W_skip.T


# %% [markdown] tags=["hint"]
# $W_\text{skip}\,x$ is written for a column $x$. What is it for rows?

# %% [markdown] tags=["hint"]
# `x @ W_skip.T`. The test has as many inputs as outputs, too: then a missing `.T` gives no error.

# %% [markdown]
# Now on the real one. The folder of our SAE says `topk`, `k = 40`, `apply_b_dec_to_input = true`. Your
# functions and the library should agree to the last digits.

# %% tags=["demo"]
if __name__ == "__main__":
    text = "The doctor told the nurse that her patient would recover in a week."
    tokens = model.to_tokens(text)
    words = [tokenizer.decode([int(i)]) for i in tokens[0]]
    _, cache = model.run_with_cache(tokens, names_filter=[sae.hook_in])
    x = cache[sae.hook_in][0]
    W = dict(sae.sae.named_parameters())
    centred = bool(sae.sae.cfg.apply_b_dec_to_input)
    z = sae_preactivations(x, W["W_enc"], W["b_enc"], W["b_dec"], centred)
    k = getattr(sae.sae.cfg, "k", None)
    by_hand = topk_latents(z, k) if k else jumprelu_latents(z, W.get("threshold", 0 * W["b_enc"]))
    by_library = sae.encode(x)
    apart = float((by_hand - by_library).abs().max())
    print(f"{len(words)} tokens, {len(by_hand[0])} latents; largest difference {apart:.1e}")

# %% [markdown] tags=["task"]
# Every token of this sentence has at most 40 active latents out of 4,608. Leave out the first token.
# How many *different* latents are active somewhere in the other 14?


# %% tags=["predict"] exercise="3.2.1.P1" title="One sentence" difficulty=2 importance=3 minutes=2 skill="thinking about sparsity" choices=["fewer than 100: neighbours share most of them", "100 to 250", "more than 250: tokens share few of them"]
predict_distinct = "more than 250: tokens share few of them"

# %% tags=["demo"] reveals=["predict_distinct"]
if __name__ == "__main__":
    active = by_library[1:] > 0
    n_distinct = int(active.any(dim=0).sum())
    print(f"{int(active.sum())} activations on {len(active)} tokens, of {n_distinct} latents")

# %% [markdown]
# ## 2 · Finding an SAE
#
# `sae_lens` has a directory of published SAEs: thousands of them. A **release** is a set that
# belongs together, an **id** one SAE in it. The directory ships inside the library, so we can read
# it without a network. `published_table()` lists it as rows; `course_table()` lists ours.

# %% tags=["demo"]
if __name__ == "__main__":
    published = published_table()
    releases = {row.release for row in published}
    print(f"{len(published):,} SAEs in {len(releases)} releases; ours:")
    show_table(course_table())

# %% [markdown] tags=["task"]
# Choose an SAE. `table` has one `SaeRow` for each, with `model`, `hook`, `width` (number of latents)
# and `l0`, each of which may be `None` where the directory does not say. Return the row of this
# `model` and `hook` (and `width`, if one is asked for) whose `l0` is nearest to the wanted one. Rows
# without `l0` come last; where two are equally near, the first one in the table is taken.
#
# If the model has no SAE at this hook, raise a `ValueError` whose text lists the hooks it has. If
# there is none of this width, a `ValueError` that lists this hook's widths.


# %% tags=["exercise"] exercise="3.2.1.b1" title="Choose" difficulty=2 importance=3 minutes=12 skill="a clear error"
def choose_sae(
    table: Sequence[SaeRow], model: str, hook: str, l0: float, width: int | None = None
) -> SaeRow:
    """The SAE of this model, hook (and width) with l0 nearest; ValueError says what there is."""
    of_model = [row for row in table if row.model == model]
    at_hook = [row for row in of_model if row.hook == hook]
    if not at_hook:
        hooks = sorted({row.hook for row in of_model if row.hook})
        raise ValueError(f"no SAE of {model} at {hook!r}; it has {', '.join(hooks) or 'none'}")
    fits = [row for row in at_hook if width in (None, row.width)]
    if not fits:
        widths = sorted({row.width for row in at_hook if row.width})
        raise ValueError(f"no SAE with {width} latents; there are {', '.join(map(str, widths))}")
    return min(fits, key=lambda row: math.inf if row.l0 is None else abs(row.l0 - l0))


# %% [markdown] tags=["hint"]
# Filter three times: model, hook, width. After which filter can the list be empty, and what does
# the person need to know then?

# %% [markdown] tags=["hint"]
# `min(rows, key=...)` takes the first of equals. A missing `l0` is infinitely far.

# %% tags=["demo"]
if __name__ == "__main__":
    row = choose_sae(published, "gpt2-small", "blocks.8.hook_resid_pre", l0=60.0)
    print(row)
    print(f"its latent 7 on Neuronpedia: https://neuronpedia.org/{row.neuronpedia}/7")

# %% [markdown]
# Look at the `l0` of this release, layer by layer: 10, 10, 18, 23, … 70. On which text, with or without
# the first token? The directory does not say. A number there is what somebody typed. We measure it
# ourselves.

# %% [markdown]
# ## 3 · Into the model
#
# A hook is a function that a module calls with its output. If it returns nothing, the output goes
# on. If it returns a tensor, *that* goes on. Two things go wrong all the time. A hook stays behind
# after an error, and every later run is silently edited. Or a hook's name is misspelt, and nothing
# happens at all.

# %% [markdown] tags=["task"]
# Run `model(x)` with some submodules' outputs edited. `edits` maps a submodule's name (as in
# `model.get_submodule(name)`) to a function of its output (it may work in place); one that returns
# `None` only looked. Return the model's output, and a dictionary with what each of these submodules
# put out *before* the edit.
#
# Afterwards no hook is left, even if the model or an edit raises. A name that the model does not
# have is an `AttributeError` before anything runs (`get_submodule` raises it).


# %% tags=["exercise"] exercise="3.2.1.c" title="Hooks that keep and hooks that replace" difficulty=3 importance=5 minutes=15 skill="cleaning up"
def run_hooked(
    model: nn.Module, x: Tensor, edits: Mapping[str, Callable[[Tensor], Tensor | None]]
) -> tuple[Tensor, dict[str, Tensor]]:
    """(model(x) with the edits, outputs before the edits); every hook is removed at the end."""
    kept: dict[str, Tensor] = {}
    modules = {name: model.get_submodule(name) for name in edits}
    handles = []
    try:
        for name, module in modules.items():

            def hook(_module: nn.Module, _args: object, out: Tensor, name: str = name) -> object:
                kept[name] = out.clone()
                return edits[name](out)

            handles.append(module.register_forward_hook(hook))
        return model(x), kept
    finally:
        for handle in handles:
            handle.remove()


# %% [markdown] tags=["hint"]
# `module.register_forward_hook(f)` returns a handle with `.remove()`. What is `f` called with, and
# what does its return value do?

# %% [markdown] tags=["hint"]
# `try: … finally: …` removes the handles in any case. Look all names up before you register the
# first hook.

# %% [markdown] tags=["hint"]
# In a loop, a function sees the loop's variable as it is *when it is called*. Bind it early:
# `def hook(module, args, out, name=name)`. And keep a `clone()`: an edit may work in place.

# %% [markdown]
# For language models we use the library's own `run_with_hooks(tokens, fwd_hooks=[(name, f)])`, with
# `f(value, hook)`. It cleans up in the same way.
#
# ### Splice
#
# With $\mathrm{enc}$ and $\mathrm{dec}$ for the two halves of the SAE, let $f = \mathrm{enc}(x)$ and
#
# $$x = \underbrace{\mathrm{dec}(f)}_{\hat x} + \underbrace{x - \mathrm{dec}(f)}_{\text{error term}} .$$
#
# If we want to know what the SAE loses, the model goes on from $\hat x$. If we want to know what one
# latent does, we edit $f$ and keep the error term as it was: then whatever changes is due to the
# edit, not to the SAE's mistakes.

# %% [markdown] tags=["task"]
# Return what the model goes on from: $\mathrm{dec}(\mathrm{edit}(f))$, plus the error term
# $x - \mathrm{dec}(f)$ if `keep_error`. The error term belongs to the *unedited* latents. `edit` may
# be `None`, or work in place: $f$ must not suffer from that. Gradients flow through all of it.


# %% tags=["exercise"] exercise="3.2.1.d1" title="Splice" difficulty=2 importance=5 minutes=10 skill="the error term"
def splice(
    x: Float[Tensor, "*batch d_in"],
    encode: Callable[[Tensor], Tensor],
    decode: Callable[[Tensor], Tensor],
    edit: Callable[[Tensor], Tensor] | None,
    keep_error: bool,
) -> Float[Tensor, "*batch d_in"]:
    """decode(edit(f)), and with `keep_error` also x - decode(f), where f = encode(x)."""
    f = encode(x)
    error = x - decode(f)
    out = decode(edit(f.clone()) if edit else f)
    return out + error if keep_error else out


# %% [markdown] tags=["hint"]
# With `keep_error` and no edit, what must come out?

# %% [markdown] tags=["hint"]
# Compute the error before you edit, and give the edit a copy.

# %% [markdown] tags=["task"]
# Take `new` where `mask` is true, and keep `x` elsewhere. `x` and `new` have one or two axes after
# `(batch, pos)`: `d_model`, or `head d_head`.


# %% tags=["exercise"] exercise="3.2.1.d2" title="Only there" difficulty=1 importance=4 minutes=5 skill="broadcasting a mask"
def only_where(
    x: Float[Tensor, "batch pos *rest"],
    new: Float[Tensor, "batch pos *rest"],
    mask: Bool[Tensor, "batch pos"],
) -> Float[Tensor, "batch pos *rest"]:
    """`new` at the tokens where `mask` is true, `x` at the others."""
    return torch.where(mask.reshape(*mask.shape, *(1,) * (x.ndim - 2)), new, x)


# %% [markdown] tags=["hint"]
# The mask needs one axis of size 1 for every axis that it lacks.

# %% [markdown] tags=["hint"]
# `torch.where(mask, new, x)` broadcasts from the right; `mask[..., None]` is right for one further
# axis, not for two.

# %% tags=["demo"]
if __name__ == "__main__":
    everywhere = torch.ones_like(tokens, dtype=torch.bool)
    everywhere[:, 0] = False  # the first token stays as it is; part 6 says why

    def splice_hook(keep_error: bool, edit: Callable[[Tensor], Tensor] | None = None) -> Callable:
        """A hook for `run_with_hooks` that splices our SAE in."""

        def hook(value: Tensor, hook: object) -> Tensor:
            new = splice(value, sae.encode, lambda f: sae.decode(f, value), edit, keep_error)
            return only_where(value, new, everywhere)

        return hook

    clean_logits = model(tokens)
    same_logits = model.run_with_hooks(tokens, fwd_hooks=[(sae.hook_out, splice_hook(True))])
    spliced_logits = model.run_with_hooks(tokens, fwd_hooks=[(sae.hook_out, splice_hook(False))])
    for name, logits in (("with error term", same_logits), ("without", spliced_logits)):
        print(f"{name}: logits differ by at most {(logits - clean_logits).abs().max():.1e}")

# %% [markdown]
# The first number is rounding. If it were not, something else than the SAE would be different, and
# everything after it would be about that. Make this check a habit.
#
# ## 4 · What is active

# %% [markdown] tags=["task"]
# Return the strongest active latents of one token, strongest first: their numbers and their values.
# At most `n`, and only those that are active (above 0).


# %% tags=["exercise"] exercise="3.2.1.e1" title="What fires here" difficulty=1 importance=4 minutes=5 skill="topk of a sparse vector"
def active_latents(
    f: Float[Tensor, " latent"], n: int
) -> tuple[Int[Tensor, " chosen"], Float[Tensor, " chosen"]]:
    """(numbers, values) of the n strongest active latents, strongest first; fewer if fewer fire."""
    values, numbers = f.topk(min(n, int((f > 0).sum())))
    return numbers, values


# %% [markdown] tags=["hint"]
# `topk` returns zeros, too, if there are not enough active latents.

# %% [markdown] tags=["hint"]
# How many are active? Ask `topk` for no more than that.

# %% [markdown] tags=["task"]
# Return a line of HTML in which every token is a `<span>` with a background whose opacity is its
# activation divided by the largest one in the text: `rgba(0,158,115,0.50)`, two decimals. Where no
# token is active every opacity is `0.00`. Tokens are shown as text: a token `<b>` must not become a
# tag, nor a quote end an attribute (`html.escape`). The form of one span:
#
# `<span style="background:rgba(0,158,115,0.50)" title="1.234">token</span>`
#
# with the activation in `title`, three decimals. Spans follow each other with nothing in between.


# %% tags=["exercise"] exercise="3.2.1.e2" title="A text coloured by one latent" difficulty=2 importance=3 minutes=10 skill="escaping"
def coloured_text(words: Sequence[str], acts: Float[Tensor, " pos"]) -> str:
    """One span per token; opacity acts / max(acts), 0 where nothing is active."""
    largest = float(acts.max())
    spans = []
    for word, act in zip(words, acts.tolist(), strict=True):
        opacity = act / largest if largest > 0 else 0.0
        style = f"background:rgba(0,158,115,{opacity:.2f})"
        spans.append(f'<span style="{style}" title="{act:.3f}">{html.escape(word)}</span>')
    return "".join(spans)


# %% [markdown] tags=["hint"]
# What does a browser do with the token `<s>`? And what is `0 / 0`?

# %% [markdown] tags=["hint"]
# `html.escape(word)` for what is shown; `f"{act:.3f}"` and `f"{opacity:.2f}"` for the numbers.

# %% tags=["demo"]
if __name__ == "__main__":
    from IPython.display import HTML, display

    f = by_library.clone()
    f[0] = 0
    for position in (2, 5, 9):
        numbers, values = active_latents(f[position], 5)
        listed = ", ".join(f"{n} ({v:.1f})" for n, v in zip(numbers.tolist(), values, strict=True))
        print(f"{words[position]!r:12} {listed}")
    latent = int(active_latents(f[5], 1)[0][0])
    display(HTML(f"<p>latent {latent}: {coloured_text(words[1:], f[1:, latent])}</p>"))
    display(plots.token_latents(f[1:], words[1:], n=24))

# %% [markdown]
# Each row of the picture is a latent, each column a token. Most rows have one bright cell: here,
# most of these fire on one word. A few rows are bright along the sentence. 3.2.2 looks at single
# latents properly, with more than one sentence.
#
# ## 5 · How good is it?
#
# ### On the activations

# %% [markdown] tags=["task"]
# Count, over the tokens where `mask` is true: **L0**, the mean number of active latents per token;
# the **density** of each latent, the share of tokens on which it is active; and the share of **dead**
# latents, those that are active on none of these tokens. Active means different from 0.


# %% tags=["exercise"] exercise="3.2.1.f1" title="Sparsity" difficulty=1 importance=4 minutes=7 skill="masked counts"
def sparsity(
    f: Float[Tensor, "batch pos latent"], mask: Bool[Tensor, "batch pos"]
) -> tuple[float, Float[Tensor, " latent"], float]:
    """(L0, density of each latent, share of dead latents) over the tokens of the mask."""
    active = f[mask] != 0
    density = active.float().mean(dim=0)
    return float(density.sum()), density, float((density == 0).float().mean())


# %% [markdown] tags=["hint"]
# `f[mask]` has one row per token that counts. The sum over latents of all densities is one of the
# three answers.

# %% [markdown] tags=["hint"]
# Averages are over tokens. A token of a padded row weighs like any other: first select, then
# average.

# %% [markdown] tags=["task"]
# **Explained variance** compares the error with that of the best constant answer:
#
# $$1 - \frac{\sum_t \|x_t - \hat x_t\|^2}{\sum_t \|x_t - \bar x\|^2}, \qquad
#   \bar x = \text{mean of } x_t \text{ over the same tokens.}$$
#
# Both sums run over all tokens of the mask, and over all dimensions. Return it as a float. (The
# reference computes in float64. Yours need not; the test allows for float32.)


# %% tags=["exercise"] exercise="3.2.1.f2" title="Explained variance" difficulty=2 importance=5 minutes=8 skill="a pooled ratio"
def explained_variance(
    x: Float[Tensor, "batch pos d_in"],
    x_hat: Float[Tensor, "batch pos d_in"],
    mask: Bool[Tensor, "batch pos"],
) -> float:
    """1 - sum |x - x_hat|² / sum |x - mean|², sums over the mask's tokens and all dimensions."""
    x, x_hat = x[mask].double(), x_hat[mask].double()
    error, total = (x - x_hat).square().sum(), (x - x.mean(dim=0)).square().sum()
    return float(1 - error / total)


# %% [markdown] tags=["hint"]
# The mean is a vector: one number for each dimension. Over which axis, and over which tokens?

# %% [markdown] tags=["hint"]
# One ratio of two sums, not the mean of many ratios.

# %% [markdown]
# One could also compute the ratio for each token, and average: "the mean share of a token's variance
# that is explained". Large tokens and small ones then weigh the same.

# %% [markdown] tags=["task"]
# On 32 rows of text the pooled explained variance of our SAE is 0.841. What will the mean of the
# tokens' own shares $1 - \|x_t - \hat x_t\|^2 / \|x_t - \bar x\|^2$ be?


# %% tags=["predict"] exercise="3.2.1.P2" title="Mean of ratios" difficulty=3 importance=3 minutes=3 skill="ratios of sums" choices=["higher by more than 0.01", "the same within 0.01", "lower by more than 0.01"]
predict_ratios = "higher by more than 0.01"

# %% tags=["demo"] reveals=["predict_ratios"]
if __name__ == "__main__":
    rows = sample_rows(loaded, n=32, seed=0)
    ids, mask = rows.ids, rows.mask.clone()
    mask[:, 0] = False
    _, cache = model.run_with_cache(ids, names_filter=[sae.hook_in])
    x = cache[sae.hook_in]
    f = sae.encode(x)
    x_hat = sae.decode(f, x)
    l0, density, dead = sparsity(f, mask)
    pooled = explained_variance(x, x_hat, mask)
    error, spread = (x - x_hat)[mask].square(), (x[mask] - x[mask].mean(dim=0)).square()
    mean_of_ratios = float((1 - error.sum(dim=1) / spread.sum(dim=1)).mean())
    mean_over_dimensions = float((1 - error.sum(dim=0) / spread.sum(dim=0)).mean())
    print(f"{int(mask.sum())} tokens: L0 {l0:.1f}, {dead:.0%} of the latents silent")
    print(f"explained variance {pooled:.3f} pooled, {mean_of_ratios:.3f} as a mean over tokens,")
    print(f"{mean_over_dimensions:.3f} as a mean over dimensions")

# %% [markdown]
# The three numbers differ because they ask different questions. Pooled, a token with a large
# activation counts more: its variance is more of the whole. Averaged over dimensions, a small
# dimension counts as much as a large one, and the SAE's loss never asked it to care for small ones.
# So "explained variance 0.86" means little until one knows which. Gao et al. (2024) pool; so does
# this course.

# %% [markdown] tags=["task"]
# Two more numbers, over the tokens of the mask: the mean **cosine** of $x_t$ and $\hat x_t$, and the
# **norm ratio** $\sum_t \|\hat x_t\| / \sum_t \|x_t\|$. The second shows shrinkage. A reconstruction
# that is exactly 0 has cosine 0 with everything.


# %% tags=["exercise"] exercise="3.2.1.f3" title="Direction and size" difficulty=1 importance=3 minutes=6 skill="a mean and a ratio"
def cosine_and_norm_ratio(
    x: Float[Tensor, "batch pos d_in"],
    x_hat: Float[Tensor, "batch pos d_in"],
    mask: Bool[Tensor, "batch pos"],
) -> tuple[float, float]:
    """(mean cosine of x and x_hat, sum |x_hat| / sum |x|) over the tokens of the mask."""
    x, x_hat = x[mask].double(), x_hat[mask].double()
    norm, norm_hat = x.norm(dim=-1), x_hat.norm(dim=-1)
    cosine = (x * x_hat).sum(dim=-1) / (norm * norm_hat).clamp(min=1e-30)
    return float(cosine.mean()), float(norm_hat.sum() / norm.sum())


# %% [markdown] tags=["hint"]
# One of them is a mean over tokens of something, the other a ratio of two sums.

# %% [markdown] tags=["hint"]
# Guard the cosine's division with `.clamp(min=...)`, small enough not to touch short vectors.

# %% [markdown]
# ### In the model
#
# An error of the same length can be harmless in one direction and fatal in another. So we let the
# model go on from $\hat x$ and look at what it predicts.

# %% [markdown] tags=["task"]
# Return for each row the summed loss, and the number of predictions that were summed. The logits at
# position $t$ predict token $t + 1$; the loss is $-\log p(\text{token}_{t+1})$ in nats. A prediction
# counts if `mask` is true at $t$ *and* at $t + 1$. The last position predicts nothing that we know.


# %% tags=["exercise"] exercise="3.2.1.g1" title="The loss of each row" difficulty=2 importance=4 minutes=12 skill="off by one"
def loss_per_row(
    logits: Float[Tensor, "row pos vocab"],
    ids: Int[Tensor, "row pos"],
    mask: Bool[Tensor, "row pos"],
) -> tuple[Float[Tensor, " row"], Int[Tensor, " row"]]:
    """(sum of -log p of the next token, number of predictions) per row, where both ends count."""
    log_p = logits[:, :-1].log_softmax(dim=-1)
    nats = -log_p.gather(-1, ids[:, 1:, None])[..., 0]
    counts = mask[:, :-1] & mask[:, 1:]
    return (nats * counts).sum(dim=1), counts.sum(dim=1)


# %% [markdown] tags=["hint"]
# Align first: `logits[:, :-1]` with `ids[:, 1:]`. The mask has two ends, too.

# %% [markdown] tags=["hint"]
# `log_softmax(dim=-1)`, then `gather` along the vocabulary with `ids[:, 1:, None]`.

# %% [markdown]
# The loss asks one token only. The **KL divergence** compares all of the prediction with that of the
# clean model:
#
# $$\mathrm{KL}(p \,\|\, q) = \sum_v p_v\, (\log p_v - \log q_v),$$
#
# with $p$ from the clean run and $q$ from the spliced one. It is 0 only if nothing changed.

# %% [markdown] tags=["task"]
# Return for each row the summed KL divergence over the positions where `mask` is true (also the last).


# %% tags=["exercise"] exercise="3.2.1.g2" title="The divergence of each row" difficulty=2 importance=4 minutes=8 skill="which one is p?"
def kl_per_row(
    clean: Float[Tensor, "row pos vocab"],
    other: Float[Tensor, "row pos vocab"],
    mask: Bool[Tensor, "row pos"],
) -> Float[Tensor, " row"]:
    """Sum over the mask's positions of KL(softmax(clean) || softmax(other)), per row."""
    log_p, log_q = clean.log_softmax(dim=-1), other.log_softmax(dim=-1)
    return ((log_p.exp() * (log_p - log_q)).sum(dim=-1) * mask).sum(dim=1)


# %% [markdown] tags=["hint"]
# Both are logits. Adding a constant to all logits of a position must change nothing.

# %% [markdown] tags=["hint"]
# The weights are the clean probabilities, on both terms.

# %% [markdown]
# A loss alone says little: 2.16 against 1.92, is that good? We need two **anchors**. One is the clean
# model. The other is the model with this activation taken away, by zeros or by the mean. The share
# of the way from the second to the first is what the SAE recovers.

# %% [markdown] tags=["task"]
# Return the recovered share: 1 if the SAE's loss is the clean one, 0 if it is that of the ablation,
# negative if it is worse. Where the ablation costs nothing the share is not defined: NaN. The same
# function serves for the divergence, with `clean = 0`.


# %% tags=["exercise"] exercise="3.2.1.g3" title="Recovered" difficulty=1 importance=4 minutes=4 skill="anchors"
def share_recovered(clean: float, with_sae: float, ablated: float) -> float:
    """(ablated - with_sae) / (ablated - clean); NaN where ablated equals clean."""
    return (ablated - with_sae) / (ablated - clean) if ablated != clean else math.nan


# %% [markdown] tags=["hint"]
# Check the three cases of the statement with numbers.

# %% [markdown] tags=["hint"]
# Python raises an error when a float is divided by 0. `math.nan` is the value for "not defined".

# %% [markdown]
# **How sure are we?** Tokens of one text are alike, so 4,000 tokens of 32 rows are not 4,000
# independent measurements. We resample whole rows. A **bootstrap** draws as many rows as there are,
# with replacement, and computes the share again; after some hundred repetitions the middle 95 % are
# an interval.

# %% [markdown] tags=["task"]
# `cost` and `anchor` have one sum per row: what the SAE costs (spliced minus clean) and what the
# ablation costs. The share of a set of rows is $1 - \sum \text{cost} / \sum \text{anchor}$. Return
# the 2.5 % and the 97.5 % quantile (`torch.quantile`) of the shares of `n_draws` resamples. A resample
# takes the *same* rows from both. Random numbers come from `gen`.


# %% tags=["exercise"] exercise="3.2.1.g4" title="An interval over rows" difficulty=3 importance=4 minutes=12 skill="bootstrap of a ratio"
def share_interval(
    cost: Float[Tensor, " row"], anchor: Float[Tensor, " row"], n_draws: int, gen: torch.Generator
) -> tuple[float, float]:
    """2.5 % and 97.5 % quantiles of 1 - sum(cost) / sum(anchor) over resampled rows."""
    n = len(cost)
    drawn = torch.randint(n, (n_draws, n), generator=gen, device=gen.device)
    shares = (1 - cost[drawn].sum(dim=1) / anchor[drawn].sum(dim=1)).double()
    low, high = shares.quantile(shares.new_tensor([0.025, 0.975]))
    return float(low), float(high)


# %% [markdown] tags=["hint"]
# `torch.randint(n, (n_draws, n), generator=gen)` are all row numbers at once. `cost[drawn]` has the
# same shape.

# %% [markdown] tags=["hint"]
# Index both with the same numbers. A row that is hard for the SAE may be hard for the ablation, too:
# drawing them apart would lose that.

# %% [markdown] tags=["task"]
# The SAE is spliced in at every token but the first, on the 32 rows from before. It cannot know better
# than the model. On how many of the predictions will the loss with the SAE be *lower* than the clean
# loss?


# %% tags=["predict"] exercise="3.2.1.P3" title="By luck" difficulty=3 importance=3 minutes=3 skill="what a metric averages" choices=["on less than 5 % of them", "on 5 % to 20 %", "on more than 20 %"]
predict_lucky = "on more than 20 %"

# %% tags=["demo"] reveals=["predict_lucky"]
if __name__ == "__main__":
    gen = torch.Generator().manual_seed(0)
    measured = measure(
        model, ids, mask, sae.hook_out,
        {"zeros": torch.zeros_like, "SAE": lambda v: sae.decode(sae.encode(v), v)},
        loss_per_row, kl_per_row,
    )  # fmt: skip
    clean, zeros, ours = (measured[name] for name in ("clean", "zeros", "SAE"))
    n = int(clean.count.sum())
    nats = [float(m.loss.sum()) / n for m in (clean, ours, zeros)]
    ce = share_recovered(*nats)
    kl = share_recovered(0.0, float(ours.kl.sum()), float(zeros.kl.sum()))
    ce_interval = share_interval(ours.loss - clean.loss, zeros.loss - clean.loss, 1000, gen)
    kl_interval = share_interval(ours.kl, zeros.kl, 1000, gen)
    print(f"loss: clean {nats[0]:.3f}, with the SAE {nats[1]:.3f}, with zeros {nats[2]:.3f}")
    print(f"recovered of the loss {ce:.4f} ({ce_interval[0]:.4f} to {ce_interval[1]:.4f})")
    print(f"recovered of the divergence {kl:.4f} ({kl_interval[0]:.4f} to {kl_interval[1]:.4f})")
    change = (ours.token_loss - clean.token_loss)[clean.counted]
    lucky = float((change < 0).float().mean())
    helped, harmed = change.clamp(max=0).mean(), change.clamp(min=0).mean()
    print(
        f"the SAE lowers the loss of {lucky:.0%} of the predictions: {helped:+.3f} and {harmed:+.3f}"
    )

# %% [markdown]
# On a third of the predictions the SAE helps, by luck: it moves probability about, and some of it
# lands on the right token. The loss adds gains and losses up, so a part of the harm is hidden. On
# another text the luck is another one. The divergence never goes below 0: every change counts as a
# loss. On these rows both recovered shares agree within their intervals; on speeches, which
# the cards in `artifacts/` report, the divergence says 0.971 and the loss 0.977.
#
# ## 6 · The first token

# %% [markdown] tags=["task"]
# For each position, return the median over rows of the activation's norm, divided by the median norm
# of all tokens that are not at position 0. `mask` says which tokens are there; a position where no
# row has a token is NaN. (`torch.median` of an even number of values takes the lower middle one; use
# it.)


# %% tags=["exercise"] exercise="3.2.1.h1" title="Norms by position" difficulty=2 importance=3 minutes=8 skill="medians under a mask"
def relative_norms(
    x: Float[Tensor, "row pos d_model"], mask: Bool[Tensor, "row pos"]
) -> Float[Tensor, " pos"]:
    """Median norm at each position over the median norm of all tokens after the first position."""
    norms = x.norm(dim=-1)
    later = mask.clone()
    later[:, 0] = False
    typical = norms[later].median()
    found = [norms[mask[:, t], t] for t in range(norms.shape[1])]
    return torch.stack([at.median() if len(at) else typical * math.nan for at in found]) / typical


# %% [markdown] tags=["hint"]
# `norms[mask]` is flat: good for the divisor. For one position, select rows: `norms[mask[:, t], t]`.

# %% [markdown] tags=["hint"]
# The median of nothing is an error or NaN, depending on the call. Handle it yourself. And leave
# `mask` as it was: work on a clone.

# %% tags=["demo"]
if __name__ == "__main__":
    layers = [layer for layer in (5, 10, 11, 15, 20, 25) if layer < loaded.n_layers]
    layers = layers if len(layers) > 2 else list(range(loaded.n_layers))
    names = [loaded.hook("resid_post", layer) for layer in layers]
    _, cache = model.run_with_cache(ids, names_filter=names)
    norms = {
        layer: relative_norms(cache[name], rows.mask)
        for layer, name in zip(layers, names, strict=True)
    }
    display(plots.norms_by_position(norms))

# %% [markdown]
# At block 11 the first token of SmolLM2 suddenly is 190 times as long as the others; later they
# catch up. Nothing about the text is written there: it is the same vector in every row. Attention
# heads that have nothing to do look at it ("attention sinks", Xiao et al. 2024; Sun et al. 2024 call
# such values "massive activations").

# %% [markdown] tags=["task"]
# Here is an answer that knows nothing about the text: at position 0 it gives the mean of all first
# tokens, elsewhere the mean of all others. Two vectors. At layer 11, with the first token counted,
# how much of the variance do they explain?


# %% tags=["predict"] exercise="3.2.1.P4" title="Two vectors" difficulty=3 importance=4 minutes=3 skill="what dominates a sum of squares" choices=["less than 0.2", "0.2 to 0.6", "0.6 to 0.95", "more than 0.95"]
predict_two_vectors = "more than 0.95"

# %% tags=["demo"] reveals=["predict_two_vectors"]
if __name__ == "__main__":
    counted, left_out = {}, {}
    for layer, name in zip(layers, names, strict=True):
        x = cache[name]
        answer = x[mask].mean(dim=0).expand_as(x).clone()
        answer[:, 0] = x[:, 0].mean(dim=0)
        counted[layer] = explained_variance(x, answer, rows.mask)
        left_out[layer] = explained_variance(x, answer, mask)
        print(
            f"layer {layer:2}: two vectors explain {counted[layer]:.3f} with the first token,"
            f" {left_out[layer]:.3f} without"
        )

# %% [markdown]
# An SAE that spends one latent on the first token, and is useless for the rest, would report 0.998
# at layer 11. That is why this course leaves the first token out, of the metrics and of the splice.
# At layer 10, where our SAE reads, it would hardly matter. Say in any case which you did.
#
# Tokens are not the only thing that can be too large. Some **dimensions** are, too.

# %% [markdown] tags=["task"]
# Return the numbers of the outlier dimensions, in increasing order: those whose standard deviation
# over tokens is more than `factor` times the median standard deviation of all dimensions. Exactly
# `factor` times is not more. (`correction=0` or 1 makes no difference to the result.)


# %% tags=["exercise"] exercise="3.2.1.h2" title="Outlier dimensions" difficulty=1 importance=2 minutes=6 skill="a robust scale"
def outlier_dimensions(x: Float[Tensor, "token d_model"], factor: float) -> Int[Tensor, " outlier"]:
    """Dimensions whose std over tokens exceeds factor x the median std (torch.median)."""
    spread = x.std(dim=0, correction=0)
    return (spread > factor * spread.median()).nonzero()[:, 0]


# %% [markdown] tags=["hint"]
# One standard deviation per dimension; then compare all with one number.

# %% [markdown] tags=["hint"]
# `mask.nonzero()` has one row per hit; you want a flat list of numbers.

# %% tags=["demo"]
if __name__ == "__main__":
    for layer, name in zip(layers, names, strict=True):
        x = cache[name][mask]
        outliers, spread = outlier_dimensions(x, 4.0), x.var(dim=0)
        share = float(spread[outliers].sum() / spread.sum())
        print(f"layer {layer:2}: dimensions {outliers.tolist()} have {share:.0%} of the variance")

# %% [markdown]
# ## 7 · Against what?
#
# A recovered share of 0.98 sounds good. Would a bad SAE score 0.2, or 0.9? Only a **control** can
# say. A control keeps something of the SAE and destroys the rest:
#
# | control | keeps | destroys |
# | --- | --- | --- |
# | identity | everything | sparsity |
# | mean | the mean activation | everything about the token |
# | random SAE | number of active latents, norms of its rows | the directions |
# | shuffled decoder | when each latent fires, how strongly, all directions | which latent writes which |

# %% [markdown] tags=["task"]
# Return a random matrix whose rows have the norms of the given one's rows and directions that are
# uniformly distributed, independently of everything else. Random numbers come from `gen`.


# %% tags=["exercise"] exercise="3.2.1.i1" title="Random directions of equal norm" difficulty=1 importance=3 minutes=5 skill="a fair control"
def random_rows_like(
    W: Float[Tensor, "latent d_in"], gen: torch.Generator
) -> Float[Tensor, "latent d_in"]:
    """Rows with uniform random directions and the norms of W's rows."""
    random = torch.randn(W.shape, generator=gen, device=gen.device, dtype=W.dtype)
    return random / random.norm(dim=1, keepdim=True) * W.norm(dim=1, keepdim=True)


# %% [markdown] tags=["hint"]
# Which law has no preferred direction? (3.1.5.a)

# %% [markdown] tags=["hint"]
# Normalise each row of the random matrix, then multiply by the norm of the row that it replaces.

# %% [markdown] tags=["task"]
# Return the decoder with its rows in another order, such that *no* row stays in its place. All such
# orders need not be equally likely, but `gen` decides, and neighbours must not all stay neighbours (a
# random roll is too little). Two rows or more are given.


# %% tags=["exercise"] exercise="3.2.1.i2" title="Shuffle without fixed points" difficulty=3 importance=3 minutes=10 skill="derangements"
def shuffled_rows(
    W_dec: Float[Tensor, "latent d_in"], gen: torch.Generator
) -> Float[Tensor, "latent d_in"]:
    """The rows of W_dec in a random order in which no row keeps its place."""
    n = len(W_dec)
    order = torch.randperm(n, generator=gen, device=gen.device)
    shifted = torch.empty_like(order)
    shifted[order] = order.roll(1)  # one long cycle through all rows: nothing is fixed
    return W_dec[shifted]


# %% [markdown] tags=["hint"]
# A random permutation has one fixed point on average. Think of all rows as children in a random
# circle, each of whom takes the place of the next.

# %% [markdown] tags=["hint"]
# If `order` is a random permutation, send `order[i]` to where `order[i + 1]` was: `order.roll(1)`.

# %% [markdown] tags=["task"]
# A random SAE with ReLU would have half of its latents active. It needs the same L0 as ours. Return
# one threshold for all latents such that, on these pre-activations, at most `l0` latents per token
# are above it on average, and lowering it to the next value below would be too many. All values are
# different; `l0` times the number of tokens is a whole number, at least 1 and less than the number of
# all values. "Above" is strict.


# %% tags=["exercise"] exercise="3.2.1.i3" title="A threshold for a given L0" difficulty=2 importance=3 minutes=8 skill="a quantile by counting"
def threshold_for_l0(z: Float[Tensor, "token latent"], l0: float) -> float:
    """The value above which there are exactly l0 entries per token on average."""
    n_active = round(l0 * len(z))
    return float(z.flatten().topk(n_active + 1).values[-1])


# %% [markdown] tags=["hint"]
# How many entries of the whole matrix are to be active? Which entry is the largest inactive one?

# %% [markdown] tags=["hint"]
# With $n$ = `l0` × tokens, the threshold is the $(n + 1)$-th largest entry: everything above it is
# active, it itself is not.

# %% [markdown] tags=["task"]
# All controls are spliced in at all tokens but the first, on 16 rows. Which recovers the least loss?


# %% tags=["predict"] exercise="3.2.1.P5" title="The worst control" difficulty=4 importance=3 minutes=3 skill="what a model can bear" choices=["the mean", "the random SAE", "the shuffled decoder"]
predict_worst = "the shuffled decoder"

# %% tags=["demo"] reveals=["predict_worst"]
if __name__ == "__main__":
    gen = torch.Generator().manual_seed(1)
    x = model.run_with_cache(ids, names_filter=[sae.hook_in])[1][sae.hook_in]
    b_dec, mean = sae.sae.b_dec, x[mask].mean(dim=0)
    # it reads along the random directions that it writes, with the SAE's own norms
    W_random, norms_in = random_rows_like(sae.sae.W_dec, gen), sae.sae.W_enc.norm(dim=0)
    W_in = (W_random / W_random.norm(dim=1, keepdim=True)).T * norms_in
    W_shuffled = shuffled_rows(sae.sae.W_dec, gen)
    threshold = threshold_for_l0((x[mask] - b_dec) @ W_in, float(round(l0)))

    def random_sae(v: Tensor) -> Tensor:
        """As many active latents as ours, with directions that mean nothing."""
        z = (v - b_dec) @ W_in
        return jumprelu_latents(z, torch.full_like(b_enc, threshold)) @ W_random + b_dec

    b_enc = torch.zeros(len(W_random))
    controls = {
        "identity": lambda v: v,
        "mean": lambda v: mean.expand_as(v),
        "random SAE": random_sae,
        "shuffled decoder": lambda v: sae.encode(v) @ W_shuffled + b_dec,
    }
    half = ids[:16], mask[:16]  # each control costs a run of the model
    measured |= measure(model, *half, sae.hook_out, controls, loss_per_row, kl_per_row)
    loss = {name: cost.loss[:16] for name, cost in measured.items()}
    answers = {"zeros": torch.zeros_like, "SAE": lambda v: sae.decode(sae.encode(v), v), **controls}
    table = []
    for name, respond in answers.items():
        cost, against = (loss[which] - loss["clean"] for which in (name, "zeros"))
        share = float(1 - cost.sum() / against.sum())
        low, high = share_interval(cost, against, 1000, gen)
        table.append((name, explained_variance(x, respond(x), mask), share, low, high))
    display(plots.control_table(table))

# %% [markdown]
# The identity checks the machine: 1, or something is wrong. Zeros are 0 by definition.
#
# The controls say what 0.98 is worth. Forgetting all about the token but the mean recovers 0.36 of the
# loss, so whoever takes zeros as the anchor gives every SAE that part for free. The random SAE recovers
# 0.6, although its explained variance (EV) is *below* that of the mean: of 4,608 random directions
# some 40 lean a little towards the activation, and their sum points roughly its way, at the wrong
# length, which the next norm divides away. Nothing in it means anything. The shuffled decoder has
# better directions, and does no better than the mean: what counts is that a latent writes what it reads.
#
# ## What you should be able to do now
#
# - Take a folder with matrices and a configuration, and compute latents and reconstruction yourself.
# - Find a published SAE, and not believe the directory's numbers.
# - Splice an SAE into a model, and show with the error term that nothing else changed.
# - Say which explained variance and which recovered loss a paper reports, and whether the first token
#   is in it.
# - Give an interval over texts, and name a control that keeps L0 and destroys meaning.
#
# ## Open questions
#
# 1. The error term is not noise: parts of it can be predicted linearly from the activation (Engels et
#    al. 2024). What would an experiment on this SAE look like that finds out how much?
# 2. Is there an anchor that is less arbitrary than zeros or the mean?
# 3. Recovered loss weighs every token alike. For which use of an SAE is that the wrong weighting?
