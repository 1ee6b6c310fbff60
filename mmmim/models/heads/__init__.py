from .reconstruction import PatchLossHead, ReconstructionHead, TokenHead

__all__ = ['PatchLossHead', 'ReconstructionHead', 'TokenHead']
