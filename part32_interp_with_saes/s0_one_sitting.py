# %% [markdown]
# # 3.2.0 Superposition and SAEs in one sitting
#
# You want to work with sparse autoencoders on a language model, and you have not done Part 3.1. This
# is what you need of it, in about two hours.
#
# A layer can represent more features than it has dimensions, if they are rarely active together.
# Then its neurons mean nothing by themselves, and that is why one trains SAEs. Here you see both
# happen in models so small that you can draw all of their weights: first the superposition, then an
# SAE that undoes it, and how one knows that it did.
#
# The exercises are those of 3.1.1 and 3.1.5, under their own names and numbers. What you solve here
# counts there, too. Where a cell uses something that is only built there, the course's own version
# is in place, and `check.solution(…)` shows it.

# %% tags=["include"] units=["3.1.1 setup", "3.1.1.a", "3.1.1.b", "3.1.1.c"]

# %% [markdown]
# Training is a loop: draw a batch, compute the loss, follow the gradient. In 3.1.1 you write it by
# hand; here `train_toy_fast` of `utils/toy.py` does it, for many models at once. As training can get
# stuck in a poor solution, each model gets several random starts, and the best is kept.

# %% tags=["include"] units=["3.1.1 given train_best", "3.1.1.P1", "3.1.1.P2", "3.1.1.P3", "3.1.1.e", "3.1.1 demo five_in_two"]

# %% [markdown]
# # Now the other way round
#
# So five features lie in two dimensions. Turn the question around: you see only the two numbers of
# the hidden layer. Can you find the five features again?
#
# A **sparse autoencoder** (SAE) tries. It writes each activation as a sum of a few directions out of
# a larger set, and it learns the set. In a language model nobody can say whether it found the right
# directions. Here we can, because we made the features.

# %% tags=["include"] units=["3.1.5 setup", "3.1.5.a", "3.1.5.b", "3.1.5.c", "3.1.5.d1", "3.1.5.d2", "3.1.5.d3", "3.1.5.d4", "3.1.5 given sae_forward", "3.1.5.e1", "3.1.5 demo sixteen_saes", "3.1.5.f1", "3.1.5.f2"]

# %% [markdown]
# A random direction is one way to point a dead latent. Another is to look for the rows that the SAE
# reconstructs worst, and to point it there: 3.1.5 has you write that. Both are in the experiment
# below.

# %% tags=["include"] units=["3.1.5.h1", "3.1.5.h2", "3.1.5.h3", "3.1.5 given n_recovered", "3.1.5 given Resampler", "3.1.5.P2", "3.1.5 demo resampling"]

# %% [markdown]
# ## What you should be able to do now
#
# - Say what superposition is, when it pays, and show it in a picture that you made yourself.
# - Write down an SAE: two linear maps, a ReLU, four groups of parameters, a loss of two terms.
# - Say why its decoder rows have length 1, what a dead latent is, and what one does about it.
# - Say when an SAE has found a feature, in a case where the truth is known.
#
# Go on with 3.2.1. There the truth is not known, and other questions take its place.
