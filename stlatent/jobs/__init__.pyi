from .decode import decode_store
from .decode_shapes import decode_meshes
from .encode import EncodeResult, encode_folder
from .options import EncodeOptions
from .planes import decode_planes
from .status import JobStatus, job_status
from .verify import verify_store

__all__ = [
    "EncodeOptions",
    "EncodeResult",
    "JobStatus",
    "decode_meshes",
    "decode_planes",
    "decode_store",
    "encode_folder",
    "job_status",
    "verify_store",
]
