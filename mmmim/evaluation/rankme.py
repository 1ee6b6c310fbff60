"""How many dimensions features use, without labels: RankMe and the spread of features and pixels over images."""

from typing import Any, Dict, List

import torch
from torch import Tensor, nn

from ..models.preprocess import MIMDataPreprocessor

THUMBNAIL = 8  # side of the small pictures by which whole images are compared
FLAT_PIXELS = 4.0  # of 255: a camera's noise and a JPEG's errors are of this size, so there is nothing else to predict


def rankme(features: Tensor, eps: float = 1e-7) -> float:
    """RankMe: the exponential of the entropy of the normalised singular values.

    ``exp(-sum_k p_k log p_k)`` with ``p_k = s_k / sum_j s_j + eps``, where ``s_k`` are the singular values of the
    features, which are not centred: features that are all alike have the rank 1. (Garrido et al., 2023: "RankMe:
    Assessing the Downstream Performance of Pretrained Self-Supervised Representations by Their Rank", Eq. 3.)

    Args:
        features: ``[N, D]``.
        eps: Keeps the logarithm finite; 1e-7 is the paper's for float32.

    Returns:
        A number from 1 (all features are multiples of one) to ``min(N, D)``; 0 where all are zero.

    Raises:
        ValueError: ``features`` is no matrix, has no row, or has values that are not finite.
    """
    if features.ndim != 2 or not len(features):
        raise ValueError(
            f'RankMe needs features [N, D] of at least one image, but their shape is {list(features.shape)}'
        )
    if not bool(torch.isfinite(features).all()):
        raise ValueError('RankMe needs finite features, but some are infinite or NaN: the network has diverged')
    values = torch.linalg.svdvals(features.double())
    if not values[0]:
        return 0.0
    share = values / values.sum() + eps
    # eps makes the shares sum to a little more than 1
    return min(torch.special.entr(share).sum().exp().item(), float(min(features.shape)))


def feature_spread(features: Tensor) -> float:
    """How far the features of different images are apart, of what is possible: 0 (all alike) to 1 (evenly spread).

    The root mean square distance of the normalised features ``[N, D]`` from their mean. (Chen and He, 2021, "Exploring
    Simple Siamese Representation Learning", section 4.1 and Fig. 2, watch the standard deviation of a normalised
    feature, which is this divided by the square root of D.)
    """
    unit = torch.nn.functional.normalize(features.double(), dim=1)
    return (unit - unit.mean(dim=0)).square().sum(dim=1).mean().sqrt().item()


class HeldOut(nn.Module):
    """What is measured of an image, as the features that :func:`.extract_features` collects.

    A row is the features ``D``, the loss (where the method can tell it: NaN otherwise), the standard deviation of the
    image's pixels (0..255, mean over channels), and a thumbnail of it (``C * 8 * 8``, 0..255).

    Args:
        model: A pre-training algorithm, not wrapped.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.samples: Any = None

    def data_preprocessor(self, data: dict, training: bool = False) -> dict:
        """The model's own; the samples are kept, since their seeds draw the masks of the loss."""
        batch = self.model.data_preprocessor(data, training)
        self.samples = batch['data_samples']
        return batch

    def extract_features(self, inputs: Tensor, pool: str = 'mean') -> Tensor:
        """Images ``[B, C, H, W]`` to rows ``[B, D + 2 + C * 64]`` float32."""
        features = self.model.extract_features(inputs, pool).float()
        preprocessor: MIMDataPreprocessor = self.model.data_preprocessor
        pixels = preprocessor.denormalize(inputs.float())
        within = pixels.flatten(2).std(dim=2, correction=0).mean(dim=1, keepdim=True)
        thumbnails = nn.functional.adaptive_avg_pool2d(pixels, THUMBNAIL).flatten(1)
        return torch.cat([features, self._losses(inputs), within, thumbnails], dim=1)

    def measure(self, rows: Tensor) -> Dict[str, float]:
        """The rows of all images ``[N, D + 2 + C * 64]`` to what stands in the run's curve.

        Returns:
            ``health/rankme`` (:func:`rankme`), ``health/feature_spread`` (:func:`feature_spread`),
            ``health/held_out_loss`` (mean; only where the method tells it), and of the pixels, 0..255:
            ``health/pixel_std`` (median over images of the standard deviation within one), ``health/pixel_std_between``
            (standard deviation over images, mean over places) and ``health/flat_images`` (per cent of the images with a
            standard deviation below :data:`FLAT_PIXELS`).
        """
        places = THUMBNAIL**2 * len(self.model.data_preprocessor.mean)
        features, losses, within, thumbnails = rows.split([rows.shape[1] - 2 - places, 1, 1, places], dim=1)
        result = {
            'health/rankme': rankme(features),
            'health/feature_spread': feature_spread(features),
            'health/pixel_std': within.median().item(),
            'health/pixel_std_between': thumbnails.std(dim=0, correction=0).mean().item(),
            'health/flat_images': 100 * (within < FLAT_PIXELS).float().mean().item(),
        }
        if bool(torch.isfinite(losses).all()):
            result['health/held_out_loss'] = losses.mean().item()
        return result

    def _losses(self, inputs: Tensor) -> Tensor:
        unknown = inputs.new_full((len(inputs), 1), float('nan'), dtype=torch.float32)
        if getattr(self.model, 'target', None) is None or getattr(self.model, 'head', None) is None:
            return unknown
        losses: List[Any] = [sample.get('recon_loss') for sample in self.model.predict(inputs, self.samples)]
        if any(loss is None for loss in losses):
            return unknown
        return torch.stack(losses).float()[:, None].to(inputs.device)
