import numpy as np
import pytest

from calmops.training.card.kneser_ney import KneserNey

VOCABULARY = 11
SEEDS = range(5)


def documents(seed: int, count: int = 40) -> list[list[int]]:
    draw = np.random.default_rng(seed)
    return [[0, *np.minimum(draw.geometric(0.3, draw.integers(2, 30)), VOCABULARY - 1).tolist()] for _ in range(count)]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_probabilities_of_all_next_tokens_sum_to_one(order: int, seed: int) -> None:
    model = KneserNey(documents(seed), order=order, vocabulary=VOCABULARY)
    for context in ([0], [0, 1], [0, 1, 1, 2, 1], [0, 9, 9, 9, 9, 9]):
        total = sum(2.0 ** model.log2_probabilities([*context, token])[-1] for token in range(VOCABULARY))
        assert total == pytest.approx(1.0, abs=1e-12), f"seed {seed}, context {context}"


def test_a_token_never_seen_still_has_a_chance() -> None:
    model = KneserNey([[0, 1, 2, 1, 2, 1]], order=3, vocabulary=VOCABULARY)
    assert np.isfinite(model.log2_probabilities([0, 10, 10, 10])).all()


def test_a_word_that_follows_only_one_other_is_unlikely_elsewhere() -> None:
    # 3 is as frequent as 4, but comes only after 2; a shorter context counts the words before it, not its occurrences.
    text = [0, *[2, 3] * 12, *[token for n in range(12) for token in (5 + n % 5, 4)]]
    model = KneserNey([text], order=2, vocabulary=VOCABULARY)
    after_unseen = {token: model.log2_probabilities([0, 10, token])[-1] for token in (3, 4)}
    assert after_unseen[4] > after_unseen[3]


def test_longer_contexts_predict_a_pattern_better() -> None:
    pattern = [[0, *[1, 1, 2, 1, 3] * 20]]
    bits = [
        -KneserNey(pattern, order=order, vocabulary=VOCABULARY).log2_probabilities(pattern[0]).sum()
        for order in (1, 2, 3, 4)
    ]
    assert bits == sorted(bits, reverse=True)


def test_more_bits_than_a_key_holds_are_refused() -> None:
    with pytest.raises(AssertionError, match="exceed 62 bits"):
        KneserNey([[0, 1]], order=5, vocabulary=10_000)
