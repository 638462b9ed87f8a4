"""Wrong answers that learners of 3.2.1 give, each with what a tutor would say."""

import html
import math

import torch

# ------------------------------------------------------------------------ a1. sae_preactivations


def sae_preactivations__never_centred(x, W_enc, b_enc, b_dec, centred):
    """You never subtract b_dec. Where `centred` is true, x - b_dec goes into the product."""
    return x @ W_enc + b_enc


def sae_preactivations__always_centred(x, W_enc, b_enc, b_dec, centred):
    """You always subtract b_dec. Many published SAEs don't: `centred` says which it is."""
    return (x - b_dec) @ W_enc + b_enc


def sae_preactivations__the_other_way_round(x, W_enc, b_enc, b_dec, centred):
    """You subtract b_dec exactly where `centred` is false."""
    return (x if centred else x - b_dec) @ W_enc + b_enc


def sae_preactivations__adds_b_dec(x, W_enc, b_enc, b_dec, centred):
    """You add b_dec to the input. It is the origin: the encoder looks at x - b_dec."""
    return (x + b_dec if centred else x) @ W_enc + b_enc


def sae_preactivations__subtracts_the_mean_of_x(x, W_enc, b_enc, b_dec, centred):
    """You subtract the mean of each input's own numbers. "Centred" means that the SAE's learned
    origin, b_dec, is subtracted."""
    return (x - x.mean(dim=-1, keepdim=True) if centred else x) @ W_enc + b_enc


def sae_preactivations__subtracts_the_mean_of_the_batch(x, W_enc, b_enc, b_dec, centred):
    """You subtract the mean of the inputs that happen to be given. "Centred" means that the SAE's
    learned origin, b_dec, is subtracted."""
    mean = x.reshape(-1, x.shape[-1]).mean(dim=0)
    return (x - mean if centred else x) @ W_enc + b_enc


def sae_preactivations__no_encoder_bias(x, W_enc, b_enc, b_dec, centred):
    """b_enc is missing. With x = b_dec, a centred SAE has the pre-activations b_enc."""
    return (x - b_dec if centred else x) @ W_enc


def sae_preactivations__with_a_relu(x, W_enc, b_enc, b_dec, centred):
    """You apply a ReLU. Pre-activations come before any nonlinearity; each kind of SAE has its
    own."""
    return ((x - b_dec if centred else x) @ W_enc + b_enc).relu()


def sae_preactivations__bias_before_the_product(x, W_enc, b_enc, b_dec, centred):
    """You multiply b_enc by W_enc. The encoder's bias is added after the product, one per
    latent."""
    return (x - b_dec if centred else x) @ W_enc + b_enc * W_enc.sum(dim=0)


# -------------------------------------------------------------------------- a2. jumprelu_latents


def jumprelu_latents__threshold_subtracted(z, threshold):
    """You subtract the threshold. A JumpReLU jumps: just above θ the value is z, not z - θ."""
    return (z - threshold).relu()


def jumprelu_latents__on_at_the_threshold(z, threshold):
    """A latent exactly at its threshold is on in your version. It is off: z > θ, strictly."""
    return z.relu() * (z >= threshold)


def jumprelu_latents__negative_values_pass(z, threshold):
    """Where a threshold is negative, negative values pass in your version. Latents are never
    negative: use z.relu()."""
    return z * (z > threshold)


def jumprelu_latents__only_the_mask(z, threshold):
    """You return which latents are active. Their values are asked for."""
    return ((z > threshold) & (z > 0)).to(z.dtype)


def jumprelu_latents__one_threshold_for_all(z, threshold):
    """You use one threshold for all latents. Each latent has its own."""
    return z.relu() * (z > threshold.mean())


def jumprelu_latents__below_instead_of_above(z, threshold):
    """You keep what is below the threshold. A latent is on where z is above it."""
    return z.relu() * (z < threshold)


def jumprelu_latents__compares_the_size(z, threshold):
    """You compare |z| with the threshold. A large negative pre-activation is off, not on."""
    return z * (z.abs() > threshold)


# ------------------------------------------------------------------------------ a3. topk_latents


def topk_latents__negative_ones_too(z, k):
    """Where fewer than k pre-activations are positive, you keep negative ones. Those are 0."""
    values, where = z.topk(k, dim=-1)
    return torch.zeros_like(z).scatter(-1, where, values)


def topk_latents__the_smallest(z, k):
    """You keep the k smallest pre-activations. TopK keeps the largest: what does the default of
    `topk` do?"""
    values, where = z.topk(k, dim=-1, largest=False)
    return torch.zeros_like(z).scatter(-1, where, values.relu())


def topk_latents__by_size(z, k):
    """You rank by |z|. A large negative pre-activation takes a place, and is 0 then."""
    where = z.abs().topk(k, dim=-1).indices
    return torch.zeros_like(z).scatter(-1, where, z.gather(-1, where).relu())


def topk_latents__only_the_values(z, k):
    """You return the k values without their places. The result is as long as z."""
    return z.topk(k, dim=-1).values.relu()


def topk_latents__one_too_many(z, k):
    """You keep k + 1 latents: is your cut at the (k + 1)-th value, or a count one too high?"""
    values, where = z.topk(min(k + 1, z.shape[-1]), dim=-1)
    return torch.zeros_like(z).scatter(-1, where, values.relu())


def topk_latents__ones(z, k):
    """You mark the active latents with 1. They keep their values."""
    where = z.topk(k, dim=-1).indices
    return torch.zeros_like(z).scatter(-1, where, 1.0) * (z > 0)


def topk_latents__over_all_tokens(z, k):
    """You take the k largest of all tokens together. TopK gives each token k latents of its own."""
    flat = z.flatten()
    values, where = flat.topk(k)
    return torch.zeros_like(flat).scatter(0, where, values.relu()).reshape(z.shape)


def topk_latents__k_on_average(z, k):
    """You take the largest of all tokens together, k per token on average. TopK gives each token
    its own k, whatever the other tokens have."""
    flat = z.flatten()
    values, where = flat.topk(k * (len(flat) // z.shape[-1]))
    return torch.zeros_like(flat).scatter(0, where, values.relu()).reshape(z.shape)


# ----------------------------------------------------------------------------- a4. gated_latents


def gated_latents__gate_is_a_factor(x, W_enc, b_gate, r_mag, b_mag):
    """You multiply by the gate's value. The gate is a switch: 1 where π > 0, else 0."""
    shared = x @ W_enc
    return (shared + b_gate).relu() * (shared * r_mag.exp() + b_mag).relu()


def gated_latents__scale_without_exp(x, W_enc, b_gate, r_mag, b_mag):
    """You scale by r instead of exp(r). The exponential keeps the scale positive."""
    shared = x @ W_enc
    return (shared + b_gate > 0) * (shared * r_mag + b_mag).relu()


def gated_latents__bias_is_scaled_too(x, W_enc, b_gate, r_mag, b_mag):
    """You scale the magnitude's bias, too. Only the matrix is scaled; the bias is added after."""
    shared = x @ W_enc
    return (shared + b_gate > 0) * ((shared + b_mag) * r_mag.exp()).relu()


def gated_latents__gate_scaled(x, W_enc, b_gate, r_mag, b_mag):
    """You use the scaled product in the gate. The gate has W_enc itself."""
    scaled = x @ W_enc * r_mag.exp()
    return (scaled + b_gate > 0) * (scaled + b_mag).relu()


def gated_latents__no_relu_on_the_magnitude(x, W_enc, b_gate, r_mag, b_mag):
    """An open gate with a negative magnitude gives a negative latent in your version. There is a
    ReLU on the magnitude."""
    shared = x @ W_enc
    return (shared + b_gate > 0) * (shared * r_mag.exp() + b_mag)


def gated_latents__open_at_zero(x, W_enc, b_gate, r_mag, b_mag):
    """A gate exactly at 0 is open in your version. It is shut: π > 0, strictly."""
    shared = x @ W_enc
    return (shared + b_gate >= 0) * (shared * r_mag.exp() + b_mag).relu()


def gated_latents__biases_swapped(x, W_enc, b_gate, r_mag, b_mag):
    """You have the two biases in each other's place."""
    shared = x @ W_enc
    return (shared + b_mag > 0) * (shared * r_mag.exp() + b_gate).relu()


def gated_latents__no_gate(x, W_enc, b_gate, r_mag, b_mag):
    """You return the magnitudes. The gate decides which of them pass."""
    return (x @ W_enc * r_mag.exp() + b_mag).relu()


# ---------------------------------------------------------------------------- a5. fold_input_scale


def fold_input_scale__divides_the_encoder(params, scale):
    """You divide W_enc. The old SAE saw s·x; now x comes in, so the encoder must multiply by s."""
    new = dict(params)
    new["W_enc"], new["W_dec"] = params["W_enc"] / scale, params["W_dec"] * scale
    new["b_dec"] = params["b_dec"] * scale
    return new


def fold_input_scale__forgets_b_dec(params, scale):
    """You leave b_dec as it is. It is a point in the scaled space: in x's units it is b_dec / s,
    both where it is subtracted and where it is added."""
    new = dict(params)
    new["W_enc"], new["W_dec"] = params["W_enc"] * scale, params["W_dec"] / scale
    return new


def fold_input_scale__scales_the_encoder_bias(params, scale):
    """You scale b_enc, too. The scaled matrix already gives the old pre-activations: (s x - b) W is
    s (x - b / s) W."""
    new = dict(params)
    new["W_enc"], new["b_enc"] = params["W_enc"] * scale, params["b_enc"] * scale
    new["W_dec"], new["b_dec"] = params["W_dec"] / scale, params["b_dec"] / scale
    return new


def fold_input_scale__encoder_only(params, scale):
    """The latents' sizes are right, but the reconstruction is still of s·x. Divide what is
    written."""
    new = dict(params)
    new["W_enc"], new["b_dec"] = params["W_enc"] * scale, params["b_dec"] / scale
    return new


def fold_input_scale__decoder_only(params, scale):
    """You scale the output, but the encoder still expects s·x."""
    new = dict(params)
    new["W_dec"], new["b_dec"] = params["W_dec"] / scale, params["b_dec"] / scale
    return new


def fold_input_scale__scales_thresholds(params, scale):
    """You scale the thresholds. The pre-activations are the same as before, and so are they."""
    new = dict(params)
    new["W_enc"], new["W_dec"] = params["W_enc"] * scale, params["W_dec"] / scale
    new["b_dec"] = params["b_dec"] / scale
    if "threshold" in new:
        new["threshold"] = params["threshold"] / scale
    return new


def fold_input_scale__everything_scaled(params, scale):
    """You multiply every parameter by s. Ask of each one: in which units is it?"""
    return {name: value * scale for name, value in params.items()}


# ----------------------------------------------------------------------------- a6. through_heads


def through_heads__d_head_outermost(z, encode, decode):
    """Your vectors have the first number of every head first. Heads are outermost: all of head 0,
    then all of head 1."""
    flat = z.mT.flatten(-2)
    shape = z.mT.shape
    return decode(encode(flat)).reshape(shape).mT


def through_heads__back_in_the_wrong_order(z, encode, decode):
    """You flatten rightly, but go back with the axes exchanged."""
    return decode(encode(z.flatten(-2))).reshape(z.mT.shape).mT


def through_heads__stays_flat(z, encode, decode):
    """You return flat vectors. The model expects heads again."""
    return decode(encode(z.flatten(-2)))


def through_heads__each_head_alone(z, encode, decode):
    """You give each head to the SAE by itself. It reads all heads of a token at once."""
    return decode(encode(z)).reshape(z.shape)


def through_heads__returns_z(z, encode, decode):
    """You return z itself. What is asked for is its reconstruction."""
    return z


def through_heads__latents(z, encode, decode):
    """You return the latents. They still have to be decoded."""
    return encode(z.flatten(-2))


# -------------------------------------------------------------------------- a7. transcoder_output


def transcoder_output__no_skip(x, latents, W_dec, b_dec, W_skip):
    """The skip path is missing: add W_skip x where there is a W_skip."""
    return latents @ W_dec + b_dec


def transcoder_output__skip_transposed(x, latents, W_dec, b_dec, W_skip):
    """Your skip path has the matrix the wrong way round. W_skip is (d_out, d_in); for a row x the
    product W_skip x is `x @ W_skip.T`."""
    written = latents @ W_dec + b_dec
    return written if W_skip is None else written + x @ W_skip


def transcoder_output__skip_transposed_where_square(x, latents, W_dec, b_dec, W_skip):
    """Where W_skip is square you multiply the wrong way round. Both ways fit then, but W_skip is
    still (d_out, d_in)."""
    written = latents @ W_dec + b_dec
    if W_skip is None:
        return written
    return written + x @ (W_skip if W_skip.shape[0] == x.shape[-1] else W_skip.T)


def transcoder_output__no_bias(x, latents, W_dec, b_dec, W_skip):
    """b_dec is missing. It is added to what is written, with or without a skip path."""
    written = latents @ W_dec
    return written if W_skip is None else written + x @ W_skip.T


def transcoder_output__skip_twice(x, latents, W_dec, b_dec, W_skip):
    """You add the skip path twice. Once is enough, whatever the library did before."""
    written = latents @ W_dec + b_dec
    return written if W_skip is None else written + 2 * x @ W_skip.T


def transcoder_output__bias_through_the_decoder(x, latents, W_dec, b_dec, W_skip):
    """Where there is a skip path, you give it b_dec's place. Both are added."""
    written = latents @ W_dec
    return written + b_dec if W_skip is None else written + x @ W_skip.T


def transcoder_output__skip_of_the_centred_input(x, latents, W_dec, b_dec, W_skip):
    """Your skip path reads something else than x. It reads x as it is."""
    written = latents @ W_dec + b_dec
    if W_skip is None:
        return written
    return written + (x - x.mean(dim=-1, keepdim=True)) @ W_skip.T


# --------------------------------------------------------------------------------- b1. choose_sae


def _error(table, model, hook, width):
    of_model = [row for row in table if row.model == model]
    at_hook = [row for row in of_model if row.hook == hook]
    if not at_hook:
        hooks = sorted({row.hook for row in of_model if row.hook})
        raise ValueError(f"no SAE of {model} at {hook!r}; it has {', '.join(hooks) or 'none'}")
    fits = [row for row in at_hook if width in (None, row.width)]
    if not fits:
        widths = sorted({row.width for row in at_hook if row.width})
        raise ValueError(f"no SAE with {width} latents; there are {', '.join(map(str, widths))}")
    return fits


def _far(row, l0):
    return math.inf if row.l0 is None else abs(row.l0 - l0)


def choose_sae__sparsest(table, model, hook, l0, width=None):
    """You take the sparsest. Asked for is the L0 that is nearest to the wanted one."""
    return min(_error(table, model, hook, width), key=lambda r: math.inf if r.l0 is None else r.l0)


def choose_sae__the_first(table, model, hook, l0, width=None):
    """You take the first that fits, whatever its L0."""
    return _error(table, model, hook, width)[0]


def choose_sae__the_last_of_equals(table, model, hook, l0, width=None):
    """Where two are equally near you take the last. The first one in the table is wanted: `<`
    against `<=`."""
    fits = _error(table, model, hook, width)
    return min(reversed(fits), key=lambda r: _far(r, l0))


def choose_sae__the_last_of_equally_near(table, model, hook, l0, width=None):
    """Of two L0 that are equally near you take the later row. The first one in the table is wanted:
    `<` against `<=`."""
    fits = _error(table, model, hook, width)
    known = [r for r in fits if r.l0 is not None]
    return min(reversed(known or fits[:1]), key=lambda r: _far(r, l0))


def choose_sae__ignores_width(table, model, hook, l0, width=None):
    """You don't look at `width`. If one is asked for, only SAEs with so many latents fit."""
    return min(_error(table, model, hook, None), key=lambda r: _far(r, l0))


def choose_sae__only_from_below(table, model, hook, l0, width=None):
    """You only look at SAEs with at most the wanted L0. Nearest means from both sides."""
    fits = _error(table, model, hook, width)
    below = [r for r in fits if r.l0 is not None and r.l0 <= l0] or fits
    return min(below, key=lambda r: _far(r, l0))


def choose_sae__missing_l0_is_zero(table, model, hook, l0, width=None):
    """You count a missing L0 as 0. Nobody has said that: such rows come last."""
    return min(_error(table, model, hook, width), key=lambda r: abs((r.l0 or 0.0) - l0))


def choose_sae__of_any_model(table, model, hook, l0, width=None):
    """You don't look at the model. Many models have a hook of this name."""
    fits = [r for r in table if r.hook == hook and width in (None, r.width)]
    if not fits:
        _error(table, model, hook, width)
    return min(fits, key=lambda r: _far(r, l0))


def choose_sae__hooks_of_all_models(table, model, hook, l0, width=None):
    """Your error names hooks that only other models have. Whoever reads it wants to know where
    *this* model has an SAE."""
    if not any(r.model == model and r.hook == hook for r in table):
        hooks = sorted({str(r.hook) for r in table})
        raise ValueError(f"no SAE of {model} at {hook!r}; there are {', '.join(hooks)}")
    return min(_error(table, model, hook, width), key=lambda r: _far(r, l0))


# ----------------------------------------------------------------------------------- c. run_hooked


def _run(model, x, edits, keep=lambda out: out.clone(), late=False, always=True, check=True):
    kept, handles = {}, []
    modules = {name: model.get_submodule(name) for name in edits} if check else {}
    names = list(edits)
    try:
        for name in names:

            def hook(_module, _args, out, mine=name):
                label = names[-1] if late else mine
                kept[label] = keep(out)
                return edits[label](out)

            module = modules.get(name) or model.get_submodule(name)
            handles.append(module.register_forward_hook(hook))
        result = model(x), kept
        for handle in handles if not always else ():
            handle.remove()
        return result
    finally:
        for handle in handles if always else ():
            handle.remove()


def run_hooked__never_removed(model, x, edits):
    """Your hooks stay in the model. Every later run is edited, too, and nobody notices."""
    kept = {}
    for name in edits:

        def hook(_module, _args, out, name=name):
            kept[name] = out.clone()
            return edits[name](out)

        model.get_submodule(name).register_forward_hook(hook)
    return model(x), kept


def run_hooked__left_after_an_error(model, x, edits):
    """After an error your hooks stay in the model, and every later run is edited. They must go
    however the run ends."""
    return _run(model, x, edits, always=False)


def run_hooked__late_binding(model, x, edits):
    """All your hooks use the last name of the loop. A function looks the variable up when it is
    called: bind it with `name=name`."""
    return _run(model, x, edits, late=True)


def run_hooked__keeps_an_alias(model, x, edits):
    """What you keep is the tensor itself. An edit that works in place changes it: keep a clone."""
    return _run(model, x, edits, keep=lambda out: out)


def run_hooked__keeps_after_the_edit(model, x, edits):
    """You keep the output after the edit. Asked for is what the module put out before."""
    kept, handles = {}, []
    modules = {name: model.get_submodule(name) for name in edits}
    try:
        for name, module in modules.items():

            def hook(_module, _args, out, name=name):
                new = edits[name](out)
                kept[name] = (out if new is None else new).clone()
                return new

            handles.append(module.register_forward_hook(hook))
        return model(x), kept
    finally:
        for handle in handles:
            handle.remove()


def run_hooked__only_looks(model, x, edits):
    """Your hooks keep the outputs, but the edits never reach the model. What does a hook's return
    value do?"""
    kept, handles = {}, []
    modules = {name: model.get_submodule(name) for name in edits}
    try:
        for name, module in modules.items():

            def hook(_module, _args, out, name=name):
                kept[name] = out.clone()
                edits[name](out.clone())

            handles.append(module.register_forward_hook(hook))
        return model(x), kept
    finally:
        for handle in handles:
            handle.remove()


def run_hooked__edits_the_input(model, x, edits):
    """You edit what goes into the modules. The edits are for what comes out of them."""
    kept, handles = {}, []
    modules = {name: model.get_submodule(name) for name in edits}
    try:
        for name, module in modules.items():

            def hook(_module, args, name=name):
                kept[name] = args[0].clone()
                new = edits[name](args[0])
                return None if new is None else (new,)

            handles.append(module.register_forward_pre_hook(hook))
        return model(x), kept
    finally:
        for handle in handles:
            handle.remove()


# -------------------------------------------------------------------------------------- d1. splice


def splice__error_of_the_edited_latents(x, encode, decode, edit, keep_error):
    """Your error term is x minus the *edited* reconstruction, so it takes back what the edit did,
    and x comes out again. It belongs to the unedited latents."""
    f = encode(x)
    out = decode(edit(f.clone()) if edit else f)
    return out + (x - out) if keep_error else out


def splice__always_with_error(x, encode, decode, edit, keep_error):
    """You always add the error term. Without `keep_error` the model sees the reconstruction
    alone."""
    f = encode(x)
    return decode(edit(f.clone()) if edit else f) + x - decode(f)


def splice__never_with_error(x, encode, decode, edit, keep_error):
    """You never add the error term. With it and no edit, x must come out."""
    f = encode(x)
    return decode(edit(f.clone()) if edit else f)


def splice__error_with_the_other_sign(x, encode, decode, edit, keep_error):
    """Your error term has the other sign: it is x minus the reconstruction."""
    f = encode(x)
    out = decode(edit(f.clone()) if edit else f)
    return out + decode(f) - x if keep_error else out


def splice__edit_reaches_the_error(x, encode, decode, edit, keep_error):
    """An edit that works in place reaches your error term, because it is computed from the same
    tensor afterwards. Give the edit a copy."""
    f = encode(x)
    edited = edit(f) if edit else f
    out = decode(edited)
    return out + x - decode(f) if keep_error else out


def splice__edits_x(x, encode, decode, edit, keep_error):
    """The edit does nothing in your version: it must be applied to the latents before they are
    decoded."""
    f = encode(x)
    return decode(f) + (x - decode(f)) if keep_error else decode(f)


def splice__adds_x(x, encode, decode, edit, keep_error):
    """You add x itself. The error term is what the reconstruction lacks, x - decode(f)."""
    f = encode(x)
    out = decode(edit(f.clone()) if edit else f)
    return out + x if keep_error else out


def splice__error_detached(x, encode, decode, edit, keep_error):
    """Your error term has the right value, but no gradient flows through it. It depends on x as
    well, and gradients flow through all of it."""
    f = encode(x)
    out = decode(edit(f.clone()) if edit else f)
    return out + (x - decode(f)).detach() if keep_error else out


# ---------------------------------------------------------------------------------- d2. only_where


def only_where__the_other_way_round(x, new, mask):
    """You take the new one where the mask is false."""
    return torch.where(mask.reshape(*mask.shape, *(1,) * (x.ndim - 2)), x, new)


def only_where__everywhere(x, new, mask):
    """You take the new one everywhere, and don't look at the mask."""
    return new.clone()


def only_where__nowhere(x, new, mask):
    """You return x as it was. Where the mask is true the new one is wanted."""
    return x.clone()


def only_where__one_axis_too_few(x, new, mask):
    """Your mask gets one further axis. Activations of heads have two: with `(batch, pos, 1)` the
    mask is compared with the wrong axes."""
    return torch.where(mask[..., None], new, x)


def only_where__whole_rows(x, new, mask):
    """You take a whole row as soon as one token of it is in the mask. Each token for itself."""
    rows = mask.any(dim=1).reshape(-1, *(1,) * (x.ndim - 1))
    return torch.where(rows, new, x)


def only_where__zeros_elsewhere(x, new, mask):
    """Where the mask is false you have 0. There x stays as it was."""
    return new * mask.reshape(*mask.shape, *(1,) * (x.ndim - 2))


def only_where__adds(x, new, mask):
    """You add the new one to x. It takes x's place."""
    return x + new * mask.reshape(*mask.shape, *(1,) * (x.ndim - 2))


def only_where__new_in_order(x, new, mask):
    """You fill the masked tokens with the first entries of `new`, one after the other. Each token
    gets what `new` has at its own place."""
    wide = mask.reshape(*mask.shape, *(1,) * (x.ndim - 2)).expand_as(x)
    return x.masked_scatter(wide, new)


# ------------------------------------------------------------------------------ e1. active_latents


def active_latents__zeros_too(f, n):
    """You list latents that are not active. Where fewer than n fire, the lists are shorter."""
    values, numbers = f.topk(min(n, len(f)))
    return numbers, values


def active_latents__values_first(f, n):
    """You return (values, numbers). `topk` has them in this order; asked for are the numbers
    first."""
    values, numbers = f.topk(min(n, int((f > 0).sum())))
    return values, numbers


def active_latents__weakest_first(f, n):
    """Your lists begin with the weakest. Strongest first."""
    values, numbers = f.topk(min(n, int((f > 0).sum())))
    return numbers.flip(0), values.flip(0)


def active_latents__in_the_order_of_numbers(f, n):
    """Your latents are in the order of their numbers. They are wanted by strength."""
    values, numbers = f.topk(min(n, int((f > 0).sum())))
    order = numbers.argsort()
    return numbers[order], values[order]


def active_latents__the_first_ones(f, n):
    """You take the first n active latents. The n strongest are asked for."""
    numbers = (f > 0).nonzero()[:n, 0]
    order = f[numbers].argsort(descending=True)
    return numbers[order], f[numbers][order]


def active_latents__the_first_ones_in_order(f, n):
    """You take the first n active latents, in the order of their numbers. The n strongest are asked
    for, strongest first."""
    numbers = (f > 0).nonzero()[:n, 0]
    return numbers, f[numbers]


def active_latents__numbered_among_the_active(f, n):
    """Your numbers count the active latents only. A latent's number is its place in all of f."""
    active = f[f > 0]
    values, numbers = active.topk(min(n, len(active)))
    return numbers, values


def active_latents__all_of_them(f, n):
    """You list all active latents. At most n of them are wanted, the strongest."""
    values, numbers = f.topk(int((f > 0).sum()))
    return numbers, values


def active_latents__above_a_hundredth(f, n):
    """You leave weak activations out. Active means above 0, however little."""
    values, numbers = f.topk(min(n, int((f > 0.01).sum())))
    return numbers, values


# ------------------------------------------------------------------------------- e2. coloured_text


def _spans(words, acts, share, escape=html.escape):
    parts = []
    for word, act in zip(words, acts.tolist(), strict=True):
        style = f"background:rgba(0,158,115,{share(act):.2f})"
        parts.append(f'<span style="{style}" title="{act:.3f}">{escape(word)}</span>')
    return "".join(parts)


def _largest(acts):
    return float(acts.max()) or 1.0


def coloured_text__not_escaped(words, acts):
    """Your tokens are not escaped. A token `<b>` becomes a tag and vanishes from the text."""
    return _spans(words, acts, lambda a: a / _largest(acts), escape=lambda w: w)


def coloured_text__only_angle_brackets(words, acts):
    """You escape `<` and `>`, but not `&`. A token `&lt;` would then be shown as `<`."""
    return _spans(
        words, acts, lambda a: a / _largest(acts),
        escape=lambda w: w.replace("<", "&lt;").replace(">", "&gt;"),
    )  # fmt: skip


def coloured_text__raw_opacity(words, acts):
    """Your opacity is the activation itself. Divide by the largest one in the text."""
    return _spans(words, acts, lambda a: a)


def coloured_text__divided_by_the_sum(words, acts):
    """You divide by the sum. The strongest token should be opaque: divide by the largest."""
    return _spans(words, acts, lambda a: a / (float(acts.sum()) or 1.0))


def coloured_text__stripped(words, acts):
    """You strip the tokens. The space before a word belongs to it, and the text would run
    together."""
    return _spans([w.strip() for w in words], acts, lambda a: a / _largest(acts))


def coloured_text__all_opaque(words, acts):
    """Every active token is opaque in your version. How strong it is should be seen."""
    return _spans(words, acts, lambda a: float(a > 0))


def coloured_text__stretched(words, acts):
    """You stretch from the smallest to the largest activation, so the smallest is always white. It
    is the share of the largest."""
    low, high = float(acts.min()), float(acts.max())
    return _spans(words, acts, lambda a: (a - low) / ((high - low) or 1.0))


def coloured_text__divided_by_at_least_one(words, acts):
    """You never divide by less than 1. In a text whose largest activation is 0.5 that token must be
    opaque, too."""
    return _spans(words, acts, lambda a: a / max(float(acts.max()), 1.0))


def coloured_text__share_in_the_title(words, acts):
    """Your `title` shows the share of the largest. It has the activation itself."""
    return _spans(words, acts.double() / _largest(acts), lambda a: a)


# ------------------------------------------------------------------------------------ f1. sparsity


def _sparsity(active):
    density = active.float().mean(dim=0)
    return float(density.sum()), density, float((density == 0).float().mean())


def sparsity__without_mask(f, mask):
    """You count all tokens. Padding and first tokens are not to be counted: select by the mask."""
    return _sparsity(f.flatten(0, 1) != 0)


def sparsity__masked_to_zero(f, mask):
    """You set the masked tokens to 0 and still divide by all tokens. They must not be in the
    denominator, either."""
    return _sparsity((f * mask[..., None]).flatten(0, 1) != 0)


def sparsity__l0_is_a_share(f, mask):
    """Your L0 is a share of the latents. It is a number of latents: the sum of the densities."""
    l0, density, dead = _sparsity(f[mask] != 0)
    return l0 / len(density), density, dead


def sparsity__density_is_a_mean_activation(f, mask):
    """Your density is a mean activation. It counts on how many tokens a latent is active at all."""
    l0, _density, dead = _sparsity(f[mask] != 0)
    return l0, f[mask].mean(dim=0), dead


def sparsity__a_floor(f, mask):
    """You count a latent only from some size on. Active means different from 0."""
    return _sparsity(f[mask].abs() > 1e-3)


def sparsity__dead_is_a_count(f, mask):
    """You return how many latents are dead. The share is asked for."""
    l0, density, dead = _sparsity(f[mask] != 0)
    return l0, density, dead * len(density)


def sparsity__alive_for_dead(f, mask):
    """You return the share of latents that are alive."""
    l0, density, dead = _sparsity(f[mask] != 0)
    return l0, density, 1 - dead


def sparsity__only_positive(f, mask):
    """You count positive latents only. Active means different from 0."""
    return _sparsity(f[mask] > 0)


def sparsity__dead_over_all_tokens(f, mask):
    """You look for dead latents on all tokens. One that is active only where the mask is false is
    dead, too."""
    l0, density, _dead = _sparsity(f[mask] != 0)
    return l0, density, _sparsity(f.flatten(0, 1) != 0)[2]


# -------------------------------------------------------------------------- f2. explained_variance


def explained_variance__without_mask(x, x_hat, mask):
    """You count all tokens. Select by the mask first: the mean, too, is over those tokens."""
    x, x_hat = x.flatten(0, 1).double(), x_hat.flatten(0, 1).double()
    return float(1 - (x - x_hat).square().sum() / (x - x.mean(dim=0)).square().sum())


def explained_variance__mean_of_all_tokens(x, x_hat, mask):
    """Your sums are over the mask's tokens, but your mean is over all. It is the mean of the same
    tokens."""
    mean = x.double().mean(dim=(0, 1))
    x, x_hat = x[mask].double(), x_hat[mask].double()
    return float(1 - (x - x_hat).square().sum() / (x - mean).square().sum())


def explained_variance__not_centred(x, x_hat, mask):
    """You divide by the activations' squares. The comparison is with the best constant answer, the
    mean: subtract it."""
    x, x_hat = x[mask].double(), x_hat[mask].double()
    return float(1 - (x - x_hat).square().sum() / x.square().sum())


def explained_variance__mean_over_tokens(x, x_hat, mask):
    """You average one ratio per token. Asked for is one ratio of two sums over all tokens."""
    x, x_hat = x[mask].double(), x_hat[mask].double()
    error, total = (x - x_hat).square().sum(dim=1), (x - x.mean(dim=0)).square().sum(dim=1)
    return float((1 - error / total).mean())


def explained_variance__mean_over_dimensions(x, x_hat, mask):
    """You average one ratio per dimension. Small dimensions then count as much as large ones; the
    sums run over dimensions, too."""
    x, x_hat = x[mask].double(), x_hat[mask].double()
    error, total = (x - x_hat).square().sum(dim=0), (x - x.mean(dim=0)).square().sum(dim=0)
    return float((1 - error / total).mean())


def explained_variance__one_mean_for_all(x, x_hat, mask):
    """You subtract one number, the mean of everything. The mean is a vector: one number for each
    dimension."""
    x, x_hat = x[mask].double(), x_hat[mask].double()
    return float(1 - (x - x_hat).square().sum() / (x - x.mean()).square().sum())


def explained_variance__unexplained(x, x_hat, mask):
    """You return the share that is *not* explained."""
    x, x_hat = x[mask].double(), x_hat[mask].double()
    return float((x - x_hat).square().sum() / (x - x.mean(dim=0)).square().sum())


def explained_variance__variance_of_the_reconstruction(x, x_hat, mask):
    """You compare the variances of x̂ and x. An x̂ with the right spread and all wrong would score
    1: the error must be in it."""
    x, x_hat = x[mask].double(), x_hat[mask].double()
    spread = [(v - v.mean(dim=0)).square().sum() for v in (x_hat, x)]
    return float(spread[0] / spread[1])


# ----------------------------------------------------------------------- f3. cosine_and_norm_ratio


def _cosine(x, x_hat):
    norms = (x.norm(dim=-1) * x_hat.norm(dim=-1)).clamp(min=1e-30)
    return float(((x * x_hat).sum(dim=-1) / norms).mean())


def _ratio(x, x_hat):
    return float(x_hat.norm(dim=-1).sum() / x.norm(dim=-1).sum())


def cosine_and_norm_ratio__without_mask(x, x_hat, mask):
    """You count all tokens. Select by the mask first."""
    x, x_hat = x.flatten(0, 1).double(), x_hat.flatten(0, 1).double()
    return _cosine(x, x_hat), _ratio(x, x_hat)


def cosine_and_norm_ratio__mean_of_ratios(x, x_hat, mask):
    """You average the tokens' own norm ratios. Asked for is the ratio of two sums."""
    x, x_hat = x[mask].double(), x_hat[mask].double()
    return _cosine(x, x_hat), float((x_hat.norm(dim=-1) / x.norm(dim=-1)).mean())


def cosine_and_norm_ratio__upside_down(x, x_hat, mask):
    """Your ratio is upside down: a reconstruction that is too short must give less than 1."""
    x, x_hat = x[mask].double(), x_hat[mask].double()
    return _cosine(x, x_hat), 1 / _ratio(x, x_hat)


def cosine_and_norm_ratio__pooled_cosine(x, x_hat, mask):
    """You compute one cosine of all tokens together. It is the mean of the tokens' cosines."""
    x, x_hat = x[mask].double(), x_hat[mask].double()
    return float((x * x_hat).sum() / (x.norm() * x_hat.norm())), _ratio(x, x_hat)


def cosine_and_norm_ratio__dot_product(x, x_hat, mask):
    """You average dot products. Divide each by both norms."""
    x, x_hat = x[mask].double(), x_hat[mask].double()
    return float((x * x_hat).sum(dim=-1).mean()), _ratio(x, x_hat)


def cosine_and_norm_ratio__floor_too_large(x, x_hat, mask):
    """Short vectors get too small a cosine: the floor in your division is too large for them."""
    x, x_hat = x[mask].double(), x_hat[mask].double()
    norms = (x.norm(dim=-1) * x_hat.norm(dim=-1)).clamp(min=1e-4)
    return float(((x * x_hat).sum(dim=-1) / norms).mean()), _ratio(x, x_hat)


def cosine_and_norm_ratio__centred(x, x_hat, mask):
    """You subtract the mean first. These are the cosine and norms of the vectors themselves."""
    x, x_hat = x[mask].double(), x_hat[mask].double()
    x, x_hat = x - x.mean(dim=0), x_hat - x_hat.mean(dim=0)
    return _cosine(x, x_hat), _ratio(x, x_hat)


# -------------------------------------------------------------------------------- g1. loss_per_row


def _nats(logits, ids):
    return -logits.log_softmax(dim=-1).gather(-1, ids[..., None])[..., 0]


def loss_per_row__of_the_token_itself(logits, ids, mask):
    """You ask the logits at a position for the token at the same position. They predict the next
    one: logits[:, :-1] goes with ids[:, 1:]."""
    return (_nats(logits, ids) * mask).sum(dim=1), mask.sum(dim=1)


def loss_per_row__mean_of_the_row(logits, ids, mask):
    """You divide by the number of predictions. The sum is asked for: sums and counts of many rows
    can be added up, means of rows cannot."""
    counts = mask[:, :-1] & mask[:, 1:]
    total = (_nats(logits[:, :-1], ids[:, 1:]) * counts).sum(dim=1)
    return total / counts.sum(dim=1), counts.sum(dim=1)


def loss_per_row__softmax_over_positions(logits, ids, mask):
    """Your softmax runs over positions. Probabilities sum to 1 over the vocabulary, the last
    axis."""
    nats = -logits[:, :-1].log_softmax(dim=1).gather(-1, ids[:, 1:, None])[..., 0]
    counts = mask[:, :-1] & mask[:, 1:]
    return (nats * counts).sum(dim=1), counts.sum(dim=1)


def loss_per_row__not_shifted(logits, ids, mask):
    """You compare the logits at t with the token at t. They predict the next one, t + 1."""
    counts = mask[:, :-1] & mask[:, 1:]
    return (_nats(logits[:, :-1], ids[:, :-1]) * counts).sum(dim=1), counts.sum(dim=1)


def loss_per_row__shifted_backwards(logits, ids, mask):
    """You shift the wrong way: logits[:, 1:] with ids[:, :-1] would predict the past."""
    counts = mask[:, :-1] & mask[:, 1:]
    return (_nats(logits[:, 1:], ids[:, :-1]) * counts).sum(dim=1), counts.sum(dim=1)


def loss_per_row__mask_of_the_target_only(logits, ids, mask):
    """You look at the mask of the target only. A prediction made at a token that does not count
    does not count, either."""
    counts = mask[:, 1:]
    return (_nats(logits[:, :-1], ids[:, 1:]) * counts).sum(dim=1), counts.sum(dim=1)


def loss_per_row__mask_of_the_source_only(logits, ids, mask):
    """You look at the mask where the prediction is made, not at its target. A target that is
    padding says nothing."""
    counts = mask[:, :-1]
    return (_nats(logits[:, :-1], ids[:, 1:]) * counts).sum(dim=1), counts.sum(dim=1)


def loss_per_row__tokens_minus_one(logits, ids, mask):
    """Your number of predictions is the number of tokens in the mask, minus 1. Is that still right
    where the mask has a gap, or a row has no token in it?"""
    counts = mask[:, :-1] & mask[:, 1:]
    total = (_nats(logits[:, :-1], ids[:, 1:]) * counts).sum(dim=1)
    return total, mask.sum(dim=1) - 1


def loss_per_row__means(logits, ids, mask):
    """You return the mean of each row. Sums are asked for, so that rows can be pooled rightly."""
    counts = mask[:, :-1] & mask[:, 1:]
    total = (_nats(logits[:, :-1], ids[:, 1:]) * counts).sum(dim=1)
    return total / counts.sum(dim=1).clamp(min=1), counts.sum(dim=1)


def loss_per_row__not_normalised(logits, ids, mask):
    """You take the logit as if it were a log-probability. Use log_softmax over the vocabulary."""
    counts = mask[:, :-1] & mask[:, 1:]
    nats = -logits[:, :-1].gather(-1, ids[:, 1:, None])[..., 0]
    return (nats * counts).sum(dim=1), counts.sum(dim=1)


def loss_per_row__negative(logits, ids, mask):
    """Your loss has the other sign: -log p is never negative."""
    counts = mask[:, :-1] & mask[:, 1:]
    return -(_nats(logits[:, :-1], ids[:, 1:]) * counts).sum(dim=1), counts.sum(dim=1)


def loss_per_row__bits(logits, ids, mask):
    """Your loss is in bits. Nats are asked for: the natural logarithm."""
    counts = mask[:, :-1] & mask[:, 1:]
    total = (_nats(logits[:, :-1], ids[:, 1:]) * counts).sum(dim=1)
    return total / math.log(2), counts.sum(dim=1)


# ---------------------------------------------------------------------------------- g2. kl_per_row


def kl_per_row__reversed(clean, other, mask):
    """You compute KL(other || clean). The expectation is over the clean model's predictions."""
    p, q = clean.log_softmax(dim=-1), other.log_softmax(dim=-1)
    return ((q.exp() * (q - p)).sum(dim=-1) * mask).sum(dim=1)


def kl_per_row__of_the_logits(clean, other, mask):
    """You subtract logits instead of log-probabilities. A constant added to all logits of a
    position must change nothing."""
    p = clean.softmax(dim=-1)
    return ((p * (clean - other)).sum(dim=-1) * mask).sum(dim=1)


def kl_per_row__cross_entropy(clean, other, mask):
    """You compute the cross-entropy. For equal predictions the divergence is 0: subtract the clean
    model's entropy."""
    p = clean.softmax(dim=-1)
    return (-(p * other.log_softmax(dim=-1)).sum(dim=-1) * mask).sum(dim=1)


def kl_per_row__without_mask(clean, other, mask):
    """You sum over all positions. Only those of the mask count."""
    p, q = clean.log_softmax(dim=-1), other.log_softmax(dim=-1)
    return (p.exp() * (p - q)).sum(dim=-1).sum(dim=1)


def kl_per_row__counted_like_the_loss(clean, other, mask):
    """You leave a position out where the next token is missing or masked, as for the loss. The
    divergence compares two predictions, and needs no next token."""
    p, q = clean.log_softmax(dim=-1), other.log_softmax(dim=-1)
    counts = mask[:, :-1] & mask[:, 1:]
    return ((p.exp() * (p - q)).sum(dim=-1)[:, :-1] * counts).sum(dim=1)


def kl_per_row__mean_over_vocab(clean, other, mask):
    """You average over the vocabulary. The divergence is a sum over tokens v."""
    p, q = clean.log_softmax(dim=-1), other.log_softmax(dim=-1)
    return ((p.exp() * (p - q)).mean(dim=-1) * mask).sum(dim=1)


def kl_per_row__mean_over_positions(clean, other, mask):
    """You average over positions. Asked for is the sum of each row."""
    p, q = clean.log_softmax(dim=-1), other.log_softmax(dim=-1)
    total = ((p.exp() * (p - q)).sum(dim=-1) * mask).sum(dim=1)
    return total / mask.sum(dim=1).clamp(min=1)


def kl_per_row__unweighted(clean, other, mask):
    """The weights p are missing: each difference of log-probabilities counts by how likely the
    clean model finds the token."""
    p, q = clean.log_softmax(dim=-1), other.log_softmax(dim=-1)
    return ((p - q).sum(dim=-1) * mask).sum(dim=1)


def kl_per_row__softmax_over_positions(clean, other, mask):
    """Your softmax runs over positions. Each position has a prediction of its own: dim=-1."""
    p, q = clean.log_softmax(dim=1), other.log_softmax(dim=1)
    return ((p.exp() * (p - q)).sum(dim=-1) * mask).sum(dim=1)


# ------------------------------------------------------------------------------ g3. share_recovered


def share_recovered__lost(clean, with_sae, ablated):
    """You return the share that is lost. At the clean loss it must be 1."""
    return (with_sae - clean) / (ablated - clean) if ablated != clean else math.nan


def share_recovered__no_anchor(clean, with_sae, ablated):
    """You divide two losses. Without the anchor of the ablation the share depends on how hard the
    text is."""
    return clean / with_sae if ablated != clean else math.nan


def share_recovered__clipped(clean, with_sae, ablated):
    """You cut the share off at 0. Worse than the ablation is possible, and should be seen."""
    if ablated == clean:
        return math.nan
    return max((ablated - with_sae) / (ablated - clean), 0.0)


def share_recovered__clipped_above(clean, with_sae, ablated):
    """You cut the share off at 1. By chance an SAE can be better than the clean model on a text,
    and should be seen to be."""
    if ablated == clean:
        return math.nan
    return min((ablated - with_sae) / (ablated - clean), 1.0)


def share_recovered__clipped_on_both_sides(clean, with_sae, ablated):
    """You cut the share off at 0 and at 1. An SAE can be worse than the ablation, or by chance
    better than the clean model, and both should be seen."""
    if ablated == clean:
        return math.nan
    return min(max((ablated - with_sae) / (ablated - clean), 0.0), 1.0)


def share_recovered__zero_where_undefined(clean, with_sae, ablated):
    """Where the ablation costs nothing you return 0. That would say the SAE recovers nothing; there
    is nothing to recover: NaN."""
    return (ablated - with_sae) / (ablated - clean) if ablated != clean else 0.0


def share_recovered__divides_by_the_ablated_loss(clean, with_sae, ablated):
    """You divide by the ablated loss. The way that can be recovered is from there to the clean
    loss."""
    return (ablated - with_sae) / ablated if ablated != clean else math.nan


def share_recovered__infinity(clean, with_sae, ablated):
    """Where the ablation costs nothing you return infinity. The share is not defined there: NaN."""
    return (ablated - with_sae) / (ablated - clean) if ablated != clean else math.inf


# ------------------------------------------------------------------------------- g4. share_interval


def _drawn(n, n_draws, gen):
    return torch.randint(n, (n_draws, n), generator=gen, device=gen.device)


def _ends(shares, low=0.025, high=0.975):
    a, b = shares.double().quantile(torch.tensor([low, high], dtype=torch.float64))
    return float(a), float(b)


def share_interval__drawn_apart(cost, anchor, n_draws, gen):
    """You draw other rows for the anchor than for the cost. A resample is a set of rows; both come
    from it."""
    n = len(cost)
    one, two = _drawn(n, n_draws, gen), _drawn(n, n_draws, gen)
    return _ends(1 - cost[one].sum(dim=1) / anchor[two].sum(dim=1))


def share_interval__mean_of_ratios(cost, anchor, n_draws, gen):
    """You average the rows' own shares. The share of a set is 1 minus a ratio of two sums."""
    drawn = _drawn(len(cost), n_draws, gen)
    return _ends(1 - (cost[drawn] / anchor[drawn]).mean(dim=1))


def share_interval__single_rows(cost, anchor, n_draws, gen):
    """Your interval is that of single rows. Each resample has as many rows as there are: the
    interval is for their share together."""
    drawn = _drawn(len(cost), n_draws, gen)[:, :1]
    return _ends(1 - cost[drawn].sum(dim=1) / anchor[drawn].sum(dim=1))


def share_interval__without_replacement(cost, anchor, n_draws, gen):
    """You draw without replacement, so every resample is the same set of rows, and the interval has
    no width."""
    n = len(cost)
    drawn = torch.stack(
        [torch.randperm(n, generator=gen, device=gen.device) for _ in range(n_draws)]
    )
    return _ends(1 - cost[drawn].sum(dim=1) / anchor[drawn].sum(dim=1))


def share_interval__cost_not_share(cost, anchor, n_draws, gen):
    """You return the share that is lost. Recovered is 1 minus that."""
    drawn = _drawn(len(cost), n_draws, gen)
    return _ends(cost[drawn].sum(dim=1) / anchor[drawn].sum(dim=1))


def share_interval__five_percent_on_each_side(cost, anchor, n_draws, gen):
    """You cut 5 % off each end. The middle 95 % leave 2.5 % on each side."""
    drawn = _drawn(len(cost), n_draws, gen)
    return _ends(1 - cost[drawn].sum(dim=1) / anchor[drawn].sum(dim=1), 0.05, 0.95)


def share_interval__upper_end_first(cost, anchor, n_draws, gen):
    """You return the upper end first. The 2.5 % quantile comes first, then the 97.5 %."""
    drawn = _drawn(len(cost), n_draws, gen)
    return _ends(1 - cost[drawn].sum(dim=1) / anchor[drawn].sum(dim=1))[::-1]


# ------------------------------------------------------------------------------- h1. relative_norms


def _medians(norms, mask, typical):
    found = [norms[mask[:, t], t] for t in range(norms.shape[1])]
    return torch.stack([at.median() if len(at) else typical * math.nan for at in found])


def relative_norms__first_token_in_the_divisor(x, mask):
    """Your divisor counts the first position, too. It is the median of the tokens *after* it."""
    norms = x.norm(dim=-1)
    typical = norms[mask].median()
    return _medians(norms, mask, typical) / typical


def relative_norms__padding_counts(x, mask):
    """You count padding. Whatever stands there is no token."""
    norms = x.norm(dim=-1)
    later = torch.ones_like(mask)
    later[:, 0] = False
    typical = norms[later].median()
    return norms.median(dim=0).values / typical


def relative_norms__absent_tokens_are_zero(x, mask):
    """A token that is not there counts as one of length 0 in your medians. It must not be in them
    at all."""
    norms = x.norm(dim=-1) * mask
    return norms.median(dim=0).values / norms[:, 1:].median()


def relative_norms__median_of_medians(x, mask):
    """You divide by the median of the positions' medians. The typical norm is one median, of all
    tokens after the first position together."""
    norms = x.norm(dim=-1)
    at = _medians(norms, mask, norms.sum())
    return at / at[1:][~at[1:].isnan()].median()


def relative_norms__means(x, mask):
    """You take means. The median is asked for: one huge token should not decide."""
    norms = x.norm(dim=-1)
    later = mask.clone()
    later[:, 0] = False
    typical = norms[later].mean()
    found = [norms[mask[:, t], t] for t in range(norms.shape[1])]
    return torch.stack([at.mean() for at in found]) / typical


def relative_norms__not_divided(x, mask):
    """You return the norms themselves. Divide by the typical norm of later tokens."""
    norms = x.norm(dim=-1)
    return _medians(norms, mask, norms.sum())


def relative_norms__norm_of_the_mean(x, mask):
    """You take the norm of the mean activation. First the norm of each token, then the median."""
    norms = x.norm(dim=-1)
    later = mask.clone()
    later[:, 0] = False
    typical = norms[later].median()
    found = [x[mask[:, t], t].mean(dim=0).norm() for t in range(x.shape[1])]
    return torch.stack(found) / typical


def relative_norms__squared(x, mask):
    """Your norms are squared. A token twice as long must give 2, not 4."""
    norms = x.square().sum(dim=-1)
    later = mask.clone()
    later[:, 0] = False
    typical = norms[later].median()
    return _medians(norms, mask, typical) / typical


def relative_norms__zero_where_nothing_is(x, mask):
    """A position without any token is 0 in your version. There is nothing to measure: NaN."""
    norms = x.norm(dim=-1)
    later = mask.clone()
    later[:, 0] = False
    typical = norms[later].median()
    return _medians(norms, mask, typical).nan_to_num() / typical


# --------------------------------------------------------------------------- h2. outlier_dimensions


def outlier_dimensions__equal_counts(x, factor):
    """A dimension at exactly `factor` times the median counts in your version. More than that."""
    spread = x.std(dim=0, correction=0)
    return (spread >= factor * spread.median()).nonzero()[:, 0]


def outlier_dimensions__mean_for_median(x, factor):
    """You compare with the mean. The outliers themselves pull it up: use the median."""
    spread = x.std(dim=0, correction=0)
    return (spread > factor * spread.mean()).nonzero()[:, 0]


def outlier_dimensions__variance(x, factor):
    """You compare variances. With standard deviations the factor means what it says."""
    spread = x.var(dim=0, correction=0)
    return (spread > factor * spread.median()).nonzero()[:, 0]


def outlier_dimensions__of_tokens(x, factor):
    """You look for outlying tokens. The standard deviation is over tokens, one for each
    dimension."""
    spread = x.std(dim=1, correction=0)
    return (spread > factor * spread.median()).nonzero()[:, 0]


def outlier_dimensions__mean_size(x, factor):
    """You compare root mean squares. A dimension with a large mean that never changes is no outlier
    here: subtract the mean."""
    spread = x.square().mean(dim=0).sqrt()
    return (spread > factor * spread.median()).nonzero()[:, 0]


def outlier_dimensions__a_mask(x, factor):
    """You return a mask. The numbers of the dimensions are asked for."""
    spread = x.std(dim=0, correction=0)
    return spread > factor * spread.median()


def outlier_dimensions__a_column(x, factor):
    """Your numbers stand in a column, (outlier, 1). `nonzero()` does that: take its only column."""
    spread = x.std(dim=0, correction=0)
    return (spread > factor * spread.median()).nonzero()


def outlier_dimensions__the_quiet_ones(x, factor):
    """You return the quiet dimensions. Outliers are those that vary more than the others."""
    spread = x.std(dim=0, correction=0)
    return (spread < factor * spread.median()).nonzero()[:, 0]


# ----------------------------------------------------------------------------- i1. random_rows_like


def random_rows_like__uniform_in_a_cube(W, gen):
    """Your rows are drawn from a cube. Its corners stick out, so diagonal directions are more
    likely: draw normal numbers."""
    random = torch.rand(W.shape, generator=gen, device=gen.device, dtype=W.dtype) - 0.5
    return random / random.norm(dim=1, keepdim=True) * W.norm(dim=1, keepdim=True)


def random_rows_like__one_quadrant(W, gen):
    """All entries of your rows are positive. Directions must be uniform over the whole sphere."""
    random = torch.randn(W.shape, generator=gen, device=gen.device, dtype=W.dtype).abs()
    return random / random.norm(dim=1, keepdim=True) * W.norm(dim=1, keepdim=True)


def random_rows_like__unit_rows(W, gen):
    """Your rows have length 1. They should have the lengths of the rows that they stand for."""
    random = torch.randn(W.shape, generator=gen, device=gen.device, dtype=W.dtype)
    return random / random.norm(dim=1, keepdim=True)


def random_rows_like__mean_norm(W, gen):
    """All your rows have the same length. Each stands for one row, and has that row's norm."""
    random = torch.randn(W.shape, generator=gen, device=gen.device, dtype=W.dtype)
    return random / random.norm(dim=1, keepdim=True) * W.norm(dim=1).mean()


def random_rows_like__norms_of_columns(W, gen):
    """You match the norms of columns. The rows are the latents."""
    random = torch.randn(W.shape, generator=gen, device=gen.device, dtype=W.dtype)
    return random / random.norm(dim=0) * W.norm(dim=0)


def random_rows_like__not_normalised(W, gen):
    """You scale random rows that have not been brought to length 1 first."""
    random = torch.randn(W.shape, generator=gen, device=gen.device, dtype=W.dtype)
    return random * W.norm(dim=1, keepdim=True)


def random_rows_like__noise_on_top(W, gen):
    """You add noise to the rows. Their directions must not depend on the given ones."""
    random = W + torch.randn(W.shape, generator=gen, device=gen.device, dtype=W.dtype)
    return random / random.norm(dim=1, keepdim=True) * W.norm(dim=1, keepdim=True)


# -------------------------------------------------------------------------------- i2. shuffled_rows


def shuffled_rows__fixed_points(W_dec, gen):
    """Your order is any random one. On average one row stays in its place: that one latent is not
    destroyed."""
    return W_dec[torch.randperm(len(W_dec), generator=gen, device=gen.device)]


def shuffled_rows__rolled(W_dec, gen):
    """You move all rows by the same number of places. No row stays, but the order is not random: it
    must depend on `gen`."""
    return W_dec.roll(1, dims=0)


def shuffled_rows__a_random_roll(W_dec, gen):
    """You roll by a random number. All rows keep their neighbours: neighbours may be alike, and the
    control would keep that."""
    shift = int(torch.randint(1, len(W_dec), (1,), generator=gen, device=gen.device))
    return W_dec.roll(shift, dims=0)


def shuffled_rows__columns(W_dec, gen):
    """You shuffle columns. Rows are latents; columns are directions of the model."""
    return W_dec[:, torch.randperm(W_dec.shape[1], generator=gen, device=gen.device)]


def shuffled_rows__reversed(W_dec, gen):
    """You reverse the rows. With an odd number the middle one stays, and nothing is random."""
    return W_dec.flip(0)


def shuffled_rows__with_replacement(W_dec, gen):
    """You draw rows with replacement: some come twice, some not at all."""
    n = len(W_dec)
    return W_dec[torch.randint(n, (n,), generator=gen, device=gen.device)]


def shuffled_rows__entries_within_rows(W_dec, gen):
    """You shuffle the entries of the rows. The directions themselves are to stay."""
    order = torch.rand(W_dec.shape, generator=gen, device=gen.device).argsort(dim=1)
    return W_dec.gather(1, order)


# ---------------------------------------------------------------------------- i3. threshold_for_l0


def threshold_for_l0__one_too_few(z, l0):
    """One entry too few is above your threshold: you return the last active entry, and it is not
    above itself. Take the next smaller one."""
    return float(z.flatten().topk(round(l0 * len(z))).values[-1])


def threshold_for_l0__per_token(z, l0):
    """You take the l0-th largest entry of each token, and average. One threshold gives tokens
    different numbers of active latents; their mean is what counts."""
    return float(z.topk(min(round(l0) + 1, z.shape[1]), dim=1).values[:, -1].mean())


def threshold_for_l0__quantile_of_the_wrong_share(z, l0):
    """You take the quantile at l0 / latents. That share is to be *above* the threshold: 1 minus
    it."""
    return float(z.flatten().quantile(l0 / z.shape[1]))


def threshold_for_l0__divides_by_tokens(z, l0):
    """You forget to multiply by the number of tokens. l0 is per token; count over the whole
    matrix."""
    return float(z.flatten().topk(round(l0) + 1).values[-1])


def threshold_for_l0__of_the_mean_token(z, l0):
    """You look at the mean over tokens. A latent that fires rarely but strongly vanishes in it."""
    return float(z.mean(dim=0).topk(min(round(l0) + 1, z.shape[1])).values[-1])


def threshold_for_l0__by_size(z, l0):
    """You rank by |z|. Negative pre-activations are never above a threshold."""
    return float(z.abs().flatten().topk(round(l0 * len(z)) + 1).values[-1])


def threshold_for_l0__zero(z, l0):
    """A threshold of 0 is a ReLU: about half of all latents are active."""
    return 0.0


# ------------------------------------------------------------------------------------- predictions


def predict_distinct__shared():
    """Few latents are shared between tokens: most of them are about one word or one kind of word.
    40 per token are wanted, and 14 tokens are different."""
    return "fewer than 100: neighbours share most of them"


def predict_distinct__some():
    """There is some sharing, but less: of 560 activations most are of a latent that no other token
    of the sentence has."""
    return "100 to 250"


def predict_ratios__equal():
    """They would agree if every token had the same share, or all had the same variance. Neither is
    so."""
    return "the same within 0.01"


def predict_ratios__lower():
    """A natural guess: small tokens could be explained badly. Here it is the large ones, far from
    the mean, that are explained less well, and they count more in the pooled number."""
    return "lower by more than 0.01"


def predict_lucky__hardly_ever():
    """One would think so: the SAE only removes information. But it moves all probabilities a
    little, and a token that the model found unlikely can become more likely by it."""
    return "on less than 5 % of them"


def predict_lucky__sometimes():
    """More often than that: errors of the SAE are hardly related to what is right, so on a third of
    the predictions they happen to help. Most still harm, and by more."""
    return "on 5 % to 20 %"


def predict_two_vectors__little():
    """Without the first token, yes: two vectors explain next to nothing. With it, one token in 128
    is 190 times as long, and its square is 36,000 times as large."""
    return "less than 0.2"


def predict_two_vectors__some():
    """The variance is a sum of squares. One token in 128, 190 times as long as the others: compare
    190² / 128 with 1."""
    return "0.2 to 0.6"


def predict_two_vectors__much():
    """Even more: 190² / 128 is about 280, so all other tokens together have a third of a per
    cent."""
    return "0.6 to 0.95"


def predict_worst__mean():
    """The mean writes something harmless, the same everywhere. Writing strong, wrong things is
    worse."""
    return "the mean"


def predict_worst__random():
    """Random directions do better than one would think: of 4,608 of them, the 40 nearest to the
    activation add up to something that points its way."""
    return "the random SAE"
