from stlatent import AutoencoderLadder

__all__ = ["AutoencoderLadder"]
