from .decode import decode_store
from .encode import EncodeResult, encode_folder
from .options import EncodeOptions
from .status import JobStatus, job_status
from .verify import verify_store

__all__ = [
    "EncodeOptions",
    "EncodeResult",
    "JobStatus",
    "decode_store",
    "encode_folder",
    "job_status",
    "verify_store",
]
