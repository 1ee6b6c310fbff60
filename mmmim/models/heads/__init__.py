from .contrastive import ContrastiveHead
from .reconstruction import PatchLossHead, ReconstructionHead, TokenHead

__all__ = ['ContrastiveHead', 'PatchLossHead', 'ReconstructionHead', 'TokenHead']
