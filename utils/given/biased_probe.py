"""Data for 3.2.5's last part: subjects of sentences, their tense and their gender, and a probe."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from utils.data.stories.lexicon import GIRLS
from utils.data.stories.sample import sample_stories
from utils.given.latent_circuits import Chain


@dataclass(frozen=True)
class Subjects:
    """Tokens that name who acts (one person), after the tense has been told."""

    x: Float[Tensor, "item d_in"]  # the activation at the chain's first site
    present: Bool[Tensor, " item"]  # the tense, which the probe is to tell
    girl: Bool[Tensor, " item"]  # the gender, which it is not to use

    def take(self, chosen: Tensor) -> "Subjects":
        """Some of them."""
        return Subjects(self.x[chosen], self.present[chosen], self.girl[chosen])


def subjects(chain: Chain, n_rows: int, seed: int) -> Subjects:
    """Of fresh stories, every such token."""
    stories = sample_stories(n_rows, 96, torch.Generator().manual_seed(seed))
    labels = stories.labels
    acts = (labels["who"] >= 0) & (labels["who"] == labels["subject"])
    chosen = acts & (labels["number"] == 0) & (labels["tense"] >= 0)
    x = chain.states(stories.tokens)[0][chosen]
    return Subjects(x, labels["tense"][chosen] == 1, labels["who"][chosen] < len(GIRLS))


def biased_and_balanced(data: Subjects, n: int, seed: int) -> tuple[Subjects, Subjects]:
    """`n` items in which girls act in the present and boys in the past; and `n` of all kinds."""
    gen = torch.Generator().manual_seed(seed)

    def some(where: Bool[Tensor, " item"]) -> Subjects:
        places = where.nonzero()[:, 0]
        return data.take(places[torch.randperm(len(places), generator=gen)[:n]])

    return some(data.present == data.girl), some(torch.ones_like(data.girl))


def fit_probe(
    x: Float[Tensor, "item d_in"], label: Bool[Tensor, " item"], decay: float = 0.01
) -> tuple[Float[Tensor, " d_in"], float]:
    """Logistic regression with weight decay: a direction and a bias."""
    w = torch.zeros(x.shape[1], requires_grad=True)
    b = torch.zeros((), requires_grad=True)
    search = torch.optim.LBFGS([w, b], max_iter=100, line_search_fn="strong_wolfe")
    loss_of: Callable[..., Tensor] = torch.nn.functional.binary_cross_entropy_with_logits

    def closure() -> float:
        search.zero_grad()
        loss = loss_of(x @ w + b, label.float()) + decay * w.square().sum()
        torch.autograd.backward(loss)
        return float(loss.detach())

    with torch.enable_grad():
        search.step(closure)
    return w.detach(), float(b.detach())
