"""What `make stats` tries beside the worked functions."""

import torch

from tools.seeds import in_double


def test_in_double_rounds_once_and_keeps_what_is_no_float():
    """The same function with other rounding, in the dtypes that went in"""

    def small_difference(x, n):
        return x + 1e8 - 1e8, n

    x, n = torch.tensor([0.5]), torch.tensor([3])
    assert small_difference(x, n)[0] == 0
    difference, same = in_double(small_difference)(x, n=n)
    assert difference == 0.5 and difference.dtype == torch.float32 and same.dtype == torch.int64
