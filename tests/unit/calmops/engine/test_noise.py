"""The sampling noise by itself: the same bits in any batch, and what the specification says."""

import pytest
import torch

from calmops.engine import sampler_specification
from calmops.engine.noise import gumbel


@pytest.mark.parametrize("vocabulary", [1, 7, 320, 4096, 50257])
def test_noise_has_the_same_bits_alone_and_in_any_row_of_a_batch(vocabulary: int) -> None:
    coordinates = [(seed, choice, position) for seed in (0, 2**63 - 1) for choice in (0, 3) for position in (0, 1023)]
    together = gumbel(coordinates, vocabulary)
    assert torch.isfinite(together).all()
    for row, coordinate in enumerate(coordinates):
        assert torch.equal(together[row], gumbel([coordinate], vocabulary)[0]), f"coordinate {coordinate}"


def test_seed_choice_and_position_each_change_the_noise() -> None:
    noise = gumbel([(1, 0, 0), (2, 0, 0), (1, 1, 0), (1, 0, 1)], 4096)
    same = [(a, b) for a in range(4) for b in range(a) if int((noise[a] == noise[b]).sum()) > 40]
    assert not same
    assert abs(float(noise.mean()) - 0.5772) < 0.05


@pytest.mark.parametrize("coordinate", [(0, 0, 0), (7, 2, 31), (2**63 - 1, 3, 1023)])
def test_noise_is_what_the_specification_says(coordinate: tuple[int, int, int]) -> None:
    specified = torch.tensor([sampler_specification.noise(*coordinate, token_id) for token_id in range(4096)])
    torch.testing.assert_close(gumbel([coordinate], 4096)[0], specified, rtol=1e-5, atol=1e-5)
