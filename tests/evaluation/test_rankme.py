"""RankMe and the spread of features."""

import numpy as np
import pytest
import torch

from mmmim.evaluation.rankme import feature_spread, rankme


def test_it_is_the_papers_formula():
    features = (
        torch.randn(50, 12, generator=torch.Generator().manual_seed(0)) @ torch.diag(torch.logspace(-3, 2, 12)) + 1
    )
    values = np.linalg.svd(features.double().numpy(), compute_uv=False)
    share = values / values.sum() + 1e-7
    assert rankme(features) == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-9)
    assert rankme(1000 * features) == pytest.approx(rankme(features), rel=1e-5)


@pytest.mark.parametrize('rows, columns', [(40, 8), (8, 40)])
def test_its_ceiling_is_the_smaller_side(rows, columns):
    orthogonal = torch.linalg.qr(torch.randn(40, 8, generator=torch.Generator().manual_seed(1)))[0]
    features = orthogonal if rows > columns else orthogonal.T
    assert rankme(features) == pytest.approx(8, abs=1e-4) and rankme(features) <= 8


def test_features_that_are_all_alike_have_rank_one():
    """They are not centred: the rounding noise around one vector is no rank."""
    alike = torch.randn(1, 16, generator=torch.Generator().manual_seed(2)).expand(30, 16)
    noise = 1e-6 * torch.randn(30, 16, generator=torch.Generator().manual_seed(3))
    assert rankme(alike) == pytest.approx(1, abs=1e-4) and rankme(alike + noise) == pytest.approx(1, abs=1e-3)
    assert feature_spread(alike + noise) < 1e-5
    assert rankme(torch.zeros(4, 3)) == 0


def test_evenly_spread_features_have_a_spread_of_one():
    assert feature_spread(torch.cat([torch.eye(5), -torch.eye(5)])) == pytest.approx(1)
    # two directions at right angles are sqrt(1/2) away from their mean, whatever their length
    assert feature_spread(torch.tensor([[3.0, 0.0], [0.0, 7.0]])) == pytest.approx(0.5**0.5)


@pytest.mark.parametrize('features', [torch.zeros(0, 4), torch.zeros(4), torch.full((3, 2), float('nan'))], ids=str)
def test_what_has_no_rank_is_an_error(features):
    with pytest.raises(ValueError, match='RankMe needs'):
        rankme(features)
